package main

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// microwatts is a power in µW. As a flag it is written in watts with at most
// six decimals, so that no power is ever rounded.
type microwatts uint64

// String returns the power in watts.
func (w *microwatts) String() string {
	if *w%1e6 == 0 {
		return strconv.FormatUint(uint64(*w)/1e6, 10)
	}
	return strings.TrimRight(fmt.Sprintf("%d.%06d", *w/1e6, *w%1e6), "0")
}

// Set reads a power in watts.
func (w *microwatts) Set(s string) error {
	whole, frac, _ := strings.Cut(s, ".")
	if whole+frac == "" || len(frac) > 6 {
		return fmt.Errorf("power %q is no number of watts with at most 6 decimals", s)
	}
	digits := whole + frac + "000000"[len(frac):]
	v, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return fmt.Errorf("power %q is no number of watts", s)
	}
	// So the µJ of 10000 cores fit 64 bits for two days, those of a few for years.
	if v > 1e10 {
		return fmt.Errorf("power %q is over 10 kW", s)
	}
	*w = microwatts(v)
	return nil
}

// over returns the energy of the power during a time in ns.
func (w microwatts) over(ns uint64) energy {
	hi, lo := bits.Mul64(uint64(w), ns)
	return energy{hi, lo}
}

// energy is an exact amount of energy in femtojoules (µW times ns), in 128
// bits. Whole microjoules are taken from it only where a figure is shown, so
// no fraction is ever lost and nothing drifts.
type energy struct{ hi, lo uint64 }

// perMicrojoule is the number of femtojoules in a microjoule.
const perMicrojoule = 1e9

// plus returns the sum of e and f.
func (e energy) plus(f energy) energy {
	lo, carry := bits.Add64(e.lo, f.lo, 0)
	hi, _ := bits.Add64(e.hi, f.hi, carry)
	return energy{hi, lo}
}

// microjoules returns the n-th part of e in whole µJ, rounded down. The
// quotient must fit 64 bits.
func (e energy) microjoules(n uint64) uint64 {
	q, _ := bits.Div64(e.hi, e.lo, perMicrojoule*n)
	return q
}
