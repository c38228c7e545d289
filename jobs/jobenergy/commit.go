package jobenergy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

func unmarshalState(blob []byte, s *savedState) error {
	if err := json.Unmarshal(blob, s); err != nil {
		return fmt.Errorf("read the restart state: %w", err)
	}
	return nil
}

// prepare closes the books for a commit: figures and restart state of one moment. b.mu is held.
func (b *Book) prepare(now agent.Instant) (*jobs.Record, error) {
	ledger, err := b.l.Save()
	if err != nil {
		return nil, fmt.Errorf("save the ledger: %w", err)
	}
	saved := savedState{Ledger: ledger, Trackers: maps.Clone(b.trackers), Roots: b.roots, Fixed: map[string]bool{}}
	for name := range b.config.Floors {
		saved.Fixed[name] = true
	}
	saved.Trace = b.flushTrace() // first the trace, then the books that know of it
	state, err := json.Marshal(&saved)
	if err != nil {
		return nil, fmt.Errorf("save the books: %w", err)
	}
	r := &jobs.Record{Time: now.Boot, Wall: now.Wall, Policy: b.l.Policy().String(), State: state, Jobs: b.l.Records(nil, now.Boot)}
	for i, s := range b.sensors {
		if s == nil {
			continue
		}
		x := b.l.State(jobs.SensorIndex(i))
		r.Sensors = append(r.Sensors, jobs.SensorRecord{
			Sensor: *s, Totals: x.Totals, UnmeasuredNs: x.UnmeasuredNs, FloorUW: x.FloorUW, FloorLearned: x.HasFloor && !b.learners[i].fixed, LastUW: x.LastUW,
		})
	}
	for i := range r.Jobs {
		r.Jobs[i].Facts.CPUs = slices.Clone(r.Jobs[i].Facts.CPUs)
	}
	return r, nil
}

// flushTrace writes the trace out and returns its length. A trace that cannot be written ends; the books go on without.
func (b *Book) flushTrace() int64 {
	if b.trace == nil {
		return 0
	}
	err := b.trace.Flush()
	if err == nil {
		return b.trace.Offset()
	}
	b.log.Error("the trace cannot be written and ends here; to record again, begin with a new store", "error", errors.Join(err, b.traceEnd.Close()))
	b.l.Tap(nil)
	b.trace, b.traceEnd = nil, nil
	return 0
}

// commitIfDue hands the books to the committer when a job has ended or the interval is over, unless the last commit is
// still being written. b.mu is held.
func (b *Book) commitIfDue(now agent.Instant) {
	if b.writing || !b.ended && now.Boot < b.nextDue {
		return
	}
	r, err := b.prepare(now)
	if err != nil {
		b.failed(err)
		return
	}
	b.ended, b.writing = false, true
	b.nextDue = now.Boot + int64(b.config.Commit)
	b.commits <- r
}

// committer writes commits one after the other until Close. A commit takes a disk flush; that is why it is done beside
// the loop.
func (b *Book) committer() {
	defer close(b.done)
	for r := range b.commits {
		err := b.store.Record(r)
		b.mu.Lock()
		b.writing = false
		if err != nil {
			b.l.Unrecorded()
			b.ended = true // try again at the next settlement
			b.failed(err)
		} else {
			b.l.Recorded()
			if b.failing {
				b.failing = false
				b.log.Info("the books can be committed again")
			}
		}
		b.mu.Unlock()
	}
}

func (b *Book) failed(err error) {
	if !b.failing {
		b.failing = true
		b.log.Error("the books cannot be committed; the figures are kept in memory until they can", "error", err)
	}
}
