package agenttest

import (
	"fmt"
	"strings"
	"sync"

	"github.com/alumet-hpc/alumet-hpc/agent"
)

// Reading is what a source told the meter: a counter in µJ, or a power in µW.
type Reading struct {
	Sensor  string
	T       int64
	Value   uint64
	IsPower bool
}

// String returns the reading as one line without its time.
func (r Reading) String() string {
	if r.IsPower {
		return fmt.Sprintf("%s %d µW", r.Sensor, r.Value)
	}
	return fmt.Sprintf("%s %d µJ", r.Sensor, r.Value)
}

// Meter implements [agent.Metering] and records what it is told. It refuses names that are registered already, and readings
// of sensors that are not, like the ledger.
type Meter struct {
	mu       sync.Mutex
	sensors  []*agent.Sensor
	readings []Reading
	unknown  []string
}

// Sensor implements [agent.Metering].
func (m *Meter) Sensor(s *agent.Sensor) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.sensors {
		if o.Name == s.Name {
			return fmt.Errorf("sensor %s is registered twice", s.Name)
		}
	}
	m.sensors = append(m.sensors, s)
	return nil
}

// Reading implements [agent.Meter].
func (m *Meter) Reading(s *agent.Sensor, t int64, uj uint64) { m.add(s, Reading{s.Name, t, uj, false}) }

// Power implements [agent.Meter].
func (m *Meter) Power(s *agent.Sensor, t int64, uw uint64) { m.add(s, Reading{s.Name, t, uw, true}) }

func (m *Meter) add(s *agent.Sensor, r Reading) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.sensors {
		if o == s {
			m.readings = append(m.readings, r)
			return
		}
	}
	m.unknown = append(m.unknown, s.Name)
}

// Sensors returns the registered sensors in their order.
func (m *Meter) Sensors() []*agent.Sensor {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*agent.Sensor(nil), m.sensors...)
}

// ByName returns a registered sensor, or nil.
func (m *Meter) ByName(name string) *agent.Sensor {
	for _, s := range m.Sensors() {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Take returns the readings since the last call and forgets them.
func (m *Meter) Take() []Reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := append([]Reading(nil), m.readings...)
	m.readings = m.readings[:0]
	return out
}

// Forget drops the readings and keeps their memory, for tests that count allocations.
func (m *Meter) Forget() {
	m.mu.Lock()
	m.readings = m.readings[:0]
	m.mu.Unlock()
}

// Unknown returns the names of sensors that gave readings without being registered.
func (m *Meter) Unknown() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unknown
}

// Readings formats readings, one a line.
func Readings(list []Reading) string {
	var b strings.Builder
	for _, r := range list {
		b.WriteString(r.String())
		b.WriteByte('\n')
	}
	return b.String()
}
