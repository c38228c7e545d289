package jobs

import (
	"math/bits"
	"strings"
)

// claim is one account's weight in an interval, and what it gets.
type claim struct {
	name   string
	weight uint64
	uj     uint64
	rem    uint64
	to     *Group  // a job or step, or
	sum    *uint64 // another account
}

// split divides e µJ among the claims in proportion to their weights, exactly: each gets the rounded-down share, and what
// is left over goes one µJ each to the largest remainders, ties in the bytewise order of names. It tells false when all
// weights are 0; then nobody got anything.
func split(e uint64, claims []claim) bool {
	total, ok := weigh(claims)
	if !ok {
		return false
	}
	left := e
	for i := range claims {
		c := &claims[i]
		hi, lo := bits.Mul64(e, c.weight)
		c.uj, c.rem = bits.Div64(hi, lo, total) // cannot overflow: weight ≤ total
		left -= c.uj
	}
	if left > 0 {
		selectLargest(claims, int(left))
		for i := range claims[:left] {
			claims[i].uj++
		}
	}
	return true
}

// weigh sums the weights. Weights that exceed 64 bits together, which no machine can produce, are halved until they fit.
func weigh(claims []claim) (total uint64, ok bool) {
	for {
		var over uint64
		total = 0
		for i := range claims {
			var c uint64
			total, c = bits.Add64(total, claims[i].weight, 0)
			over |= c
		}
		if over == 0 {
			return total, total > 0
		}
		for i := range claims {
			claims[i].weight /= 2
		}
	}
}

// before is the order in which leftover µJ are given.
func before(a, b *claim) bool {
	if a.rem != b.rem {
		return a.rem > b.rem
	}
	return strings.Compare(a.name, b.name) < 0
}

// selectLargest moves the k claims that come first in the order of before to the front, in any order among themselves, in
// linear time on average.
func selectLargest(c []claim, k int) {
	lo, hi := 0, len(c) // the boundary k lies within c[lo:hi]
	for hi-lo > 1 && k > lo && k < hi {
		pivot := c[lo+(hi-lo)/2]
		i, j := lo, hi-1
		for i <= j {
			for before(&c[i], &pivot) {
				i++
			}
			for before(&pivot, &c[j]) {
				j--
			}
			if i <= j {
				c[i], c[j] = c[j], c[i]
				i++
				j--
			}
		}
		// c[lo:j+1] come before or equal the pivot, c[i:hi] after or equal.
		switch {
		case k <= j+1:
			hi = j + 1
		case k >= i:
			lo = i
		default:
			return
		}
	}
}
