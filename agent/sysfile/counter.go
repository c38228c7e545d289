package sysfile

// Counter turns the readings of a counter into differences. It is the only place that subtracts one reading from another,
// so that a counter that wraps or is reset never becomes a gigantic difference.
type Counter struct {
	// Max is the largest value before the counter wraps to 0; 0: it does not wrap, so that going backwards is a reset.
	Max uint64

	prev uint64
	seen bool
}

// Delta returns what was counted since the previous reading. ok is false for the first reading and after a reset: the
// reading is then the new beginning.
func (c *Counter) Delta(v uint64) (d uint64, ok bool) { return c.DeltaAtMost(v, 0) }

// DeltaAtMost is [Counter.Delta] for a counter that cannot have counted more than most: a counter that went backwards and
// would have to have wrapped to more than that was reset. most 0 is no bound.
func (c *Counter) DeltaAtMost(v, most uint64) (d uint64, ok bool) {
	prev, seen := c.prev, c.seen
	c.prev, c.seen = v, true
	switch {
	case !seen:
		return 0, false
	case v >= prev:
		return v - prev, true
	case c.Max == 0 || prev > c.Max:
		return 0, false
	}
	d = c.Max - prev + v + 1
	if most > 0 && d > most {
		return 0, false
	}
	return d, true
}

// Reset forgets the previous reading: the next one is a first one.
func (c *Counter) Reset() { c.seen = false }
