package agent

import (
	"context"
	"errors"
	"slices"
	"time"
)

// lane is a goroutine with its own sources. All lanes share one clock grid; the main lane also serves edges.
type lane struct {
	name     string
	agent    *Agent
	sources  []*sourceElement // in order of phases
	out      Batch
	wake     chan struct{} // an edge is asked for
	requests chan chan<- struct{}
	edgeFree int64 // no edge is served before, ledger time
	overruns uint64
}

// edge asks for a reading between ticks, from any goroutine.
func (l *lane) edge() {
	select {
	case l.wake <- struct{}{}:
	default: // one is asked for already, and has not begun
	}
}

func (l *lane) run(ctx context.Context) {
	start := l.agent.o.Clock.Now().Boot
	for _, s := range l.sources {
		s.next, s.flushAt = start, start+int64(s.Flush)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	wanted := false // an edge waits for its turn
	for {
		now := l.agent.o.Clock.Now()
		due := l.due()
		if wanted {
			due = min(due, l.edgeFree)
		}
		timer.Reset(time.Duration(due - now.Boot))
		select {
		case <-ctx.Done():
			l.final()
			return
		case <-timer.C:
		case <-l.wake:
			wanted = true
		case done := <-l.requests:
			l.readAll()
			close(done)
		}
		if now = l.agent.o.Clock.Now(); now.Boot >= l.due() {
			l.tick(now)
		}
		if wanted && now.Boot >= l.edgeFree {
			wanted = false
			l.serveEdge(now)
		}
	}
}

// due is when the next source is to be polled.
func (l *lane) due() int64 {
	t := int64(1<<63 - 1)
	for _, s := range l.sources {
		t = min(t, max(s.next, s.retryAt))
	}
	return t
}

// tick polls every due source with one instant and passes on what is to be flushed. Ticks that were missed are not made
// up for: the grid stays, and the next reading covers the longer interval.
func (l *lane) tick(now Instant) {
	for _, s := range l.sources {
		if s.next > now.Boot || s.retryAt > now.Boot {
			continue
		}
		missed := (now.Boot - s.next) / int64(s.Period)
		if missed > 0 {
			l.overruns += uint64(missed)
			s.next += missed * int64(s.Period)
		}
		if (missed > 0) != s.missing {
			if s.missing = missed > 0; s.missing {
				l.agent.log.Warn("source cannot keep its poll_interval: readings are missed", "element", s.String(), "interval", s.Period)
			}
		}
		s.next += int64(s.Period)
		l.poll(s, now)
	}
	l.flush(now, false)
}

func (l *lane) poll(s *sourceElement, now Instant) {
	before := len(s.pending.Points)
	err := s.poll(now)
	if errors.Is(err, ErrGone) {
		l.agent.log.Info("source has ended", "element", s.String(), "reason", err)
		l.out.Points = append(l.out.Points, s.pending.Points...)
		l.sources = slices.DeleteFunc(slices.Clone(l.sources), func(x *sourceElement) bool { return x == s })
		return
	}
	s.note(l.agent.log, "source", err)
	// A source of which only a part has failed goes on with the rest.
	if s.retryAt = 0; err != nil && len(s.pending.Points) == before {
		s.retryAt = now.Boot + int64(backOff(s.failures, s.Period, max(time.Minute, s.Period)))
	}
}

func (s *sourceElement) poll(now Instant) (err error) {
	defer recovered(&err)
	return s.src.Poll(&s.pending, now)
}

// flush passes on the points of the sources whose time has come, or of all.
func (l *lane) flush(now Instant, all bool) {
	for _, s := range l.sources {
		// Half a period of slack: a flush falls on the tick that is nearest to it.
		if !all && now.Boot+int64(s.Period)/2 < s.flushAt {
			continue
		}
		s.flushAt = now.Boot + int64(s.Flush)
		l.out.Points = append(l.out.Points, s.pending.Points...)
		s.pending.Reset()
	}
	l.agent.forward(&l.out)
	l.out.Reset()
}

// serveEdge reads what can be read between ticks, and spaces the next edge by what this one cost.
func (l *lane) serveEdge(now Instant) {
	for _, s := range l.sources {
		if s.edger == nil {
			continue
		}
		if err := s.edge(now); err != nil && !errors.Is(err, ErrGone) {
			s.note(l.agent.log, "source", err)
		}
	}
	end := l.agent.o.Clock.Now().Boot
	l.edgeFree = max(now.Boot+int64(l.agent.o.EdgeGap), end+20*(end-now.Boot))
}

func (s *sourceElement) edge(now Instant) (err error) {
	defer recovered(&err)
	return s.edger.Edge(now)
}

// readAll polls every source out of turn, and flushes.
func (l *lane) readAll() {
	now := l.agent.o.Clock.Now()
	for _, s := range l.sources {
		l.poll(s, now)
	}
	l.flush(now, true)
}

// final is the last reading when the agent stops.
func (l *lane) final() { l.readAll() }
