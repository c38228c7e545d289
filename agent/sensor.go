package agent

// Scope says how a sensor's energy relates to that of others, so that no total adds two that overlap.
type Scope uint8

// The scopes of sensors.
const (
	ScopeComponent Scope = iota // a part of the node that overlaps no other component: package, DRAM, GPU
	ScopePart                   // a part of a component: the cores of a package
	ScopeNode                   // the node or a module, around its components: platform, wattmeter
)

// String returns `component`, `part` or `node`.
func (s Scope) String() string {
	return [...]string{"component", "part", "node"}[s]
}

// Sensor describes one source of energy readings to the ledger. It is made once, when a source is opened, and identified
// by its address afterwards. Energy is in microjoules (µJ), power in microwatts (µW), times in nanoseconds.
type Sensor struct {
	// Name identifies the sensor on its node over restarts: `rapl:package:0`, `nvml:gpu:0000:3b:00.0`, `wattmeter`.
	Name     string
	Resource Resource
	// Domain is the hardware's own word for what is measured: package, pp0, dram, …
	Domain string
	// Part says which part of the resource, where several sensors of one domain share it without overlap: a die of a
	// package. Empty: all of it.
	Part string
	// Socket is the physical package whose CPUs the sensor covers; negative: the whole node.
	Socket int
	// Holders is set for a device that jobs hold, a GPU: its energy goes by who holds it, not by CPU time.
	Holders bool
	Scope   Scope
	// RangeUJ is the largest value of a cumulative counter before it wraps to 0; 0: it does not wrap or is not known.
	RangeUJ uint64
	// MaxUW bounds the power that the hardware can draw, to tell a wrap from a reset; 0: not known.
	MaxUW uint64
	// MaxGapNs is the longest interval of a power sensor that may be integrated over; 0: any.
	MaxGapNs int64
	// StepNs is the time between two updates of the hardware's own counter: what an edge can resolve.
	StepNs int64
	// Integrated marks power that was integrated to energy, Estimated a model instead of a measurement.
	Integrated, Estimated bool
	// Root is the root of the file tree that the sensor is read from, where it is not the real one.
	Root string
}

// Meter is the ledger's ear: a source tells it the raw readings in the same Poll that makes its points. t is ledger time
// in nanoseconds (see [Instant]). Both methods are safe for concurrent use and allocate nothing.
type Meter interface {
	// Reading tells a cumulative counter.
	Reading(s *Sensor, t int64, uj uint64)
	// Power tells a momentary power.
	Power(s *Sensor, t int64, uw uint64)
}

// Metering is a Meter that sensors can be registered with, before the first reading.
type Metering interface {
	Meter
	// Sensor registers s. A name that is taken by another sensor of this run is an error.
	Sensor(s *Sensor) error
}
