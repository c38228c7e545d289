package config

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// Size is an amount of memory or disk in bytes, written as a number with a unit: `100MB`, `1.5GiB`, `0`.
type Size uint64

// sizeUnit is one unit and its names in small letters.
type sizeUnit struct {
	bytes uint64
	name  string
	names string
}

// sizeUnits lists the units, larger ones first, those of powers of ten before those of two.
func sizeUnits() []sizeUnit {
	return []sizeUnit{
		{1e12, "TB", "tb t"}, {1e9, "GB", "gb g"}, {1e6, "MB", "mb m"}, {1e3, "kB", "kb k"},
		{1 << 40, "TiB", "tib"}, {1 << 30, "GiB", "gib"}, {1 << 20, "MiB", "mib"}, {1 << 10, "KiB", "kib"},
		{1, "B", "b bytes byte"},
	}
}

// ParseSize parses an amount of bytes. A number without unit counts bytes.
func ParseSize(text string) (Size, error) {
	whole, rest := cutDigits(strings.TrimSpace(text))
	fraction := ""
	if strings.HasPrefix(rest, ".") && whole != "" {
		fraction, rest = cutDigits(rest[1:])
	}
	if whole == "" {
		return 0, fmt.Errorf(`size %q: a number is missing; write for example "100MB"`, text)
	}
	unit := strings.ToLower(strings.TrimSpace(rest))
	if unit == "" {
		unit = "b"
	}
	for _, u := range sizeUnits() {
		for n := range strings.FieldsSeq(u.names) {
			if n == unit {
				return scaleSize(text, whole, fraction, u.bytes)
			}
		}
	}
	return 0, fmt.Errorf("size %q: unit %q is unknown; units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB", text, unit)
}

func scaleSize(text, whole, fraction string, unit uint64) (Size, error) {
	v, ok := scale(whole, fraction, unit)
	if !ok {
		return 0, fmt.Errorf("size %q: %w", text, errTooLarge)
	}
	return Size(v), nil
}

// errTooLarge says that a size does not fit into 63 bits of bytes.
var errTooLarge = errors.New("too large")

// String writes the size with the largest unit that needs no fraction.
func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for _, u := range sizeUnits() {
		if uint64(s)%u.bytes == 0 {
			return fmt.Sprintf("%d%s", uint64(s)/u.bytes, u.name)
		}
	}
	return ""
}

// MarshalText implements [encoding.TextMarshaler].
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Size) UnmarshalText(text []byte) error {
	v, err := ParseSize(string(text))
	if err != nil {
		return err
	}
	*s = v
	return nil
}

// scale computes whole.fraction · unit in integers, so that 4.2s is exactly 4,200 ms. ok is false when the result does not
// fit into 63 bits.
func scale(whole, fraction string, unit uint64) (v uint64, ok bool) {
	w, ok := number(whole)
	if !ok {
		return 0, false
	}
	hi, v := bits.Mul64(w, unit)
	if hi > 0 || v > math.MaxInt64 {
		return 0, false
	}
	// Digits beyond the 18th are less than a nanosecond, or a byte, of any unit.
	fraction = fraction[:min(len(fraction), 18)]
	f, _ := number(fraction)
	tens := uint64(1)
	for range fraction {
		tens *= 10
	}
	// f < tens, so the quotient is below unit and fits.
	hi, lo := bits.Mul64(f, unit)
	q, _ := bits.Div64(hi, lo, tens)
	v += q
	return v, v <= math.MaxInt64
}

func number(digits string) (uint64, bool) {
	var v uint64
	for i := range len(digits) {
		if v > math.MaxInt64/10 {
			return 0, false
		}
		v = v*10 + uint64(digits[i]-'0')
	}
	return v, v <= math.MaxInt64
}
