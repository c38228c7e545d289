package jobs

import (
	"fmt"
	"math/bits"
	"slices"
)

// sensor is the ledger's side of a sensor: its readings that are not settled yet, and its sums.
type sensor struct {
	name    string
	index   int
	socket  int // index of the socket it covers; negative: the whole machine
	n       int // CPUs that it covers
	isPower bool
	kind    bool // isPower is known
	stepNs  int64

	// pending are the readings in order of time; the first is the last settled one.
	pending []reading
	based   bool // an interval was settled: the first of pending is final
	held    bool
	holders []holding

	floors     []floorAt
	fixedFloor uint64
	floorFixed bool

	fraction           uint64 // of a µJ, in units of 1/2e9 µJ, carried to the next interval of a power sensor
	carryVan, carrySys int64
	totals, sent       Totals
	forgottenUJ        uint64 // of jobs that were forgotten
	unmeasured         int64
	lastUW             uint64
}

type reading struct {
	t      int64
	uj, uw uint64
	Limits
}

type holding struct {
	t    int64
	jobs []*Group
}

type floorAt struct {
	t  int64
	uw uint64
}

// unknownSocket stands for lines that name a sensor before its first reading tells what it covers.
const unknownSocket = -2

// sensorOf returns the sensor of a name, making it if it is new. socket is the socket's number, negative for all CPUs.
func (l *Ledger) sensorOf(name string, socket int) *sensor {
	s := l.bySensor[name]
	if s == nil {
		s = &sensor{name: name, index: len(l.sensors), socket: -1, n: l.n}
		if uw, ok := l.floors[name]; ok {
			s.fixedFloor, s.floorFixed = uw, true
		}
		l.sensors = append(l.sensors, s)
		l.bySensor[name] = s
		for _, j := range l.jobs {
			j.grow(len(l.sensors))
		}
	}
	if socket != unknownSocket && len(s.pending) == 0 {
		if s.socket = l.socketIndex(socket); s.socket >= 0 {
			s.n = len(l.sockets[s.socket].CPUs)
		}
	}
	return s
}

func (l *Ledger) checkSensor(e *Event) error {
	if e.Sensor == "" {
		return fmt.Errorf("sensor line without a name")
	}
	if e.Socket >= 0 && l.socketIndex(e.Socket) < 0 {
		return fmt.Errorf("sensor %s covers socket %d, which the machine does not have", e.Sensor, e.Socket)
	}
	if s := l.bySensor[e.Sensor]; s != nil && s.kind && s.isPower != e.IsPower {
		return fmt.Errorf("sensor %s has told both energy and power", e.Sensor)
	}
	return nil
}

// read puts a reading in its place and tells whether it did: of two with one time the first to arrive counts, and one
// that is not later than the last settled reading is refused.
func (s *sensor) read(l *Ledger, r reading, isPower bool) bool {
	i := len(s.pending)
	for i > 0 && s.pending[i-1].t > r.t {
		i--
	}
	if i > 0 && s.pending[i-1].t == r.t {
		return false
	}
	if i == 0 && s.based {
		l.late++
		return false
	}
	s.kind, s.isPower = true, isPower
	s.pending = append(s.pending, reading{})
	copy(s.pending[i+1:], s.pending[i:])
	s.pending[i] = r
	return true
}

// energy is what the interval between two readings measured, in µJ; false: a gap.
func (s *sensor) energy(l *Ledger, a, b *reading) (uint64, bool) {
	d := uint64(b.t - a.t)
	if slices.ContainsFunc(l.reboots, func(r int64) bool { return a.t < r && r <= b.t }) {
		s.fraction = 0
		return 0, false
	}
	if s.isPower {
		if b.MaxGapNs > 0 && b.t-a.t > b.MaxGapNs {
			s.fraction = 0
			return 0, false
		}
		return s.integrate(a.uw, b.uw, d)
	}
	if b.RangeUJ > 0 && b.MaxUW > 0 && moreThan(d, b.MaxUW, b.RangeUJ, 1e9) {
		return 0, false // it could have wrapped unseen
	}
	if b.uj >= a.uj {
		return b.uj - a.uj, true
	}
	if b.RangeUJ == 0 || a.uj-b.uj > b.RangeUJ {
		return 0, false
	}
	e := b.RangeUJ - (a.uj - b.uj) + 1
	if b.MaxUW > 0 && moreThan(e, 1e9, d, b.MaxUW) {
		return 0, false // more than the hardware can draw: a reset, not a wrap
	}
	return e, true
}

// integrate is the trapezoid (p + q)/2 · d in whole µJ, the fraction carried. µW · ns = 1e-9 µJ, halved by the mean.
func (s *sensor) integrate(p, q, d uint64) (uint64, bool) {
	sum, over := bits.Add64(p, q, 0)
	if over != 0 {
		return 0, false
	}
	hi, lo := bits.Mul64(sum, d)
	lo, c := bits.Add64(lo, s.fraction, 0)
	hi += c
	if hi >= 2e9 {
		return 0, false // beyond 64 bits of µJ
	}
	e, rest := bits.Div64(hi, lo, 2e9)
	s.fraction = rest
	return e, true
}

// moreThan tells a·b > c·d without overflow.
func moreThan(a, b, c, d uint64) bool {
	h1, l1 := bits.Mul64(a, b)
	h2, l2 := bits.Mul64(c, d)
	return h1 > h2 || h1 == h2 && l1 > l2
}

// floorAt is the idle floor in force for an interval that ends at b, in µW.
func (s *sensor) floorAt(b int64) uint64 {
	if s.floorFixed {
		return s.fixedFloor
	}
	for i := len(s.floors) - 1; i >= 0; i-- {
		if s.floors[i].t <= b {
			return s.floors[i].uw
		}
	}
	return 0
}
