package jobs

import "github.com/alumet-hpc/alumet-hpc/agent"

// NoBooks is Books that nobody keeps: for agents that only make points.
type NoBooks struct{}

// Begin returns a handle that stands for nothing.
func (NoBooks) Begin(_ agent.Instant, id ID, step string, _ []int) *Group {
	return &Group{ID: id, Step: step}
}

// Found returns a handle that stands for nothing.
func (NoBooks) Found(_ agent.Instant, id ID, step string, _ []int, _ uint64) *Group {
	return &Group{ID: id, Step: step}
}

// Resume knows nobody.
func (NoBooks) Resume(ID, string) (*Group, bool) { return nil, false }

// Open knows nobody.
func (NoBooks) Open() []*Group { return nil }

// Usage does nothing.
func (NoBooks) Usage(agent.Instant, *Group, uint64) {}

// End does nothing.
func (NoBooks) End(agent.Instant, *Group, uint64, Final) {}

// SetCPUs does nothing.
func (NoBooks) SetCPUs(agent.Instant, *Group, []int) {}

// SetFacts does nothing.
func (NoBooks) SetFacts(ID, Facts) {}

// Parent does nothing.
func (NoBooks) Parent(agent.Instant, uint64) {}

// Busy does nothing.
func (NoBooks) Busy(agent.Instant, int, uint64) {}

// TrackerState does nothing.
func (NoBooks) TrackerState(string, []byte) {}

// LastTrackerState has nothing.
func (NoBooks) LastTrackerState(string) []byte { return nil }
