package jobenergy

import (
	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// floorWindow is the least time without a job over which an idle floor is learned.
const floorWindow = int64(10e9)

// learner watches one sensor for its idle floor.
type learner struct {
	fixed bool // configured: nothing to learn
	open  bool
	from  jobs.SensorState // where the window began
}

// learn lowers the floors to the average power of a window without a job, where that is lower than what was seen before.
// Later settlements use the new floor; what was settled keeps the one it had. b.mu is held.
func (b *Book) learn(now agent.Instant) {
	for i := range b.learners {
		w := &b.learners[i]
		if w.fixed || b.sensors[i] == nil || b.sensors[i].Holders {
			continue
		}
		if b.live > 0 {
			w.open = false
			continue
		}
		x := b.l.State(jobs.SensorIndex(i))
		if x.SettledT == 0 {
			continue
		}
		if !w.open || x.UnmeasuredNs != w.from.UnmeasuredNs {
			w.open, w.from = true, x
			continue
		}
		d := x.SettledT - w.from.SettledT
		if d < floorWindow {
			continue
		}
		uw := uint64(float64(x.Totals.MeasuredUJ-w.from.Totals.MeasuredUJ) / float64(d) * 1e9)
		if !x.HasFloor || uw < x.FloorUW {
			b.apply(&jobs.Event{Type: jobs.EventFloor, T: now.Boot, Sensor: b.sensors[i].Name, UW: uw})
		}
		w.from = x
	}
}
