package jobs

import "math/bits"

// sample is one value of a cumulative counter.
type sample struct {
	t int64
	v uint64
}

// timeline is a cumulative counter over time: linear between its samples, rounded down, and constant after the last one.
type timeline struct {
	s []sample
	// flat says what holds before the first sample: its value (a machine's counter) or 0 (a job's usage).
	flat bool
}

// add appends a sample. One that is not later than the last raises that to the larger value: time does not go back, and
// a counter that was read twice in an instant keeps what it counted.
func (l *timeline) add(t int64, v uint64) {
	if n := len(l.s); n > 0 && t <= l.s[n-1].t {
		l.s[n-1].v = max(l.s[n-1].v, v)
		return
	}
	l.s = append(l.s, sample{t, v})
}

// at is the counter's value at time x.
func (l *timeline) at(x int64) uint64 {
	n := len(l.s)
	if n == 0 {
		return 0
	}
	if last := l.s[n-1]; x >= last.t {
		return last.v
	}
	if x < l.s[0].t {
		if l.flat {
			return l.s[0].v
		}
		return 0
	}
	lo, hi := 0, n-1 // s[lo].t <= x < s[hi].t
	for hi-lo > 1 {
		if m := int(uint(lo+hi) >> 1); l.s[m].t <= x {
			lo = m
		} else {
			hi = m
		}
	}
	p, q := l.s[lo], l.s[hi]
	return p.v + mulDiv(q.v-p.v, uint64(x-p.t), uint64(q.t-p.t))
}

// last is the newest sample; the zero sample when there is none.
func (l *timeline) last() sample {
	if n := len(l.s); n > 0 {
		return l.s[n-1]
	}
	return sample{}
}

// trim forgets what is not needed to know the counter at from and later. Before that it is then constant, so that a
// sensor whose last reading is older than the timelines' retention is split by what ran within it.
func (l *timeline) trim(from int64) {
	k := 0
	for k+1 < len(l.s) && l.s[k+1].t <= from {
		k++
	}
	if k > 0 {
		l.s = l.s[:copy(l.s, l.s[k:])]
		l.flat = true
	}
}

// counter is a timeline of a raw machine-wide counter: when the counter is smaller than before it began anew, and the
// timeline goes on from where it was.
type counter struct {
	timeline
	base, raw uint64
}

func newCounter() counter { return counter{timeline: timeline{flat: true}} }

func (c *counter) count(t int64, raw uint64) {
	if raw < c.raw {
		c.base = c.last().v
	}
	c.raw = raw
	c.add(t, c.base+raw)
}

// mulDiv is ⌊a·b/d⌋ with a 128-bit product; a result beyond 64 bits is the largest number, d = 0 gives 0.
func mulDiv(a, b, d uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if d == 0 {
		return 0
	}
	if hi >= d {
		return 1<<64 - 1
	}
	q, _ := bits.Div64(hi, lo, d)
	return q
}

// span is a time during which a group existed; end is open while it lives.
type span struct{ begin, end int64 }

const open = int64(1<<63 - 1)

// exist is how long the spans cover (a, b], in ns.
func exist(lives []span, a, b int64) int64 {
	sum := int64(0)
	for _, l := range lives {
		sum += max(0, min(b, l.end)-max(a, l.begin))
	}
	return sum
}
