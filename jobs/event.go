package jobs

import "fmt"

// EventType is the type of a line of a trace.
type EventType uint8

// The types of events, in the order of the trace format's description.
const (
	EventMachine EventType = iota
	EventSensor
	EventHolders
	EventBusy
	EventParent
	EventFloor
	EventBegin
	EventFound
	EventUsage
	EventCPUs
	EventEnd
	EventRestart
	EventReboot
)

var eventNames = [...]string{"machine", "sensor", "holders", "busy", "parent", "floor", "begin", "found", "usage", "cpus", "end", "restart", "reboot"}

// String is the type's word in a trace.
func (e EventType) String() string { return eventNames[e] }

// ParseEventType reads a type's word.
func ParseEventType(s string) (EventType, error) {
	for i, n := range eventNames {
		if n == s {
			return EventType(i), nil
		}
	}
	return 0, fmt.Errorf("type %q is unknown: want one of %v", s, eventNames)
}

// Socket is a physical package and its CPUs.
type Socket struct {
	ID   int   `json:"socket"`
	CPUs []int `json:"cpus"`
}

// Event is one thing that the ledger is told; a trace is a sequence of them. Which fields count depends on the type.
// Times are ledger time in ns, energy µJ, power µW, CPU time ns.
type Event struct {
	Type    EventType
	T       int64
	Machine []Socket

	Sensor  string
	IsPower bool
	UJ, UW  uint64
	Limits  Limits
	Socket  int // of a sensor or busy line; negative: the whole node
	Jobs    []string

	Job, Step string
	CPUs      []int
	HasCPUs   bool
	CPUNs     uint64
	HasCPUNs  bool
	By        string // how an end was read; for people
}

// Limits are what is known of a sensor's counter; see agent.Sensor.
type Limits struct {
	RangeUJ, MaxUW uint64
	MaxGapNs       int64
}
