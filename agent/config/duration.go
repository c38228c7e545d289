package config

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Duration is a length of time in a configuration, written as numbers with units: `1s`, `150ms`, `1m 30s`, `4.2s`. It is
// never negative.
type Duration time.Duration

// unitGroup is one unit and the names that it may be written by.
type unitGroup struct {
	ns    uint64
	names string
}

const (
	second = uint64(time.Second)
	day    = 24 * 3600 * second
	month  = 2_630_016 * second  // 30.44 days
	year   = 31_557_600 * second // 365.25 days
)

// durationUnits lists the units; names are case-sensitive: `m` is a minute and `M` a month.
func durationUnits() []unitGroup {
	return []unitGroup{
		{1, "ns nsec nanos"},
		{1e3, "us usec µs μs micros"},
		{1e6, "ms msec millis"},
		{second, "s sec secs second seconds"},
		{60 * second, "m min mins minute minutes"},
		{3600 * second, "h hr hrs hour hours"},
		{day, "d day days"},
		{7 * day, "w wk wks week weeks"},
		{month, "M month months"},
		{year, "y yr yrs year years"},
	}
}

// errTooLong says that a duration does not fit into 64 bits of nanoseconds.
var errTooLong = errors.New("duration is longer than 292 years")

// ParseDuration parses a length of time. A unit is required for every number but 0.
func ParseDuration(text string) (Duration, error) {
	s := strings.TrimSpace(text)
	if s == "0" {
		return 0, nil
	}
	if s == "" {
		return 0, errors.New(`duration is empty; write for example "1s"`)
	}
	var total uint64
	for s != "" {
		var d uint64
		var err error
		if d, s, err = cutDuration(s); err != nil {
			return 0, fmt.Errorf("duration %q: %w", text, err)
		}
		if total += d; total > math.MaxInt64 {
			return 0, fmt.Errorf("%w: %q", errTooLong, text)
		}
	}
	return Duration(total), nil
}

// cutDuration parses one number with its unit at the beginning of s and returns the rest without leading blanks.
func cutDuration(s string) (ns uint64, rest string, err error) {
	whole, s := cutDigits(s)
	fraction := ""
	if strings.HasPrefix(s, ".") {
		fraction, s = cutDigits(s[1:])
		if fraction == "" {
			whole = ""
		}
	}
	if whole == "" {
		return 0, "", errors.New(`a number is missing; write for example "1m 30s"`)
	}
	s = strings.TrimLeft(s, " \t")
	end := strings.IndexAny(s, "0123456789. \t")
	if end < 0 {
		end = len(s)
	}
	unit, ok := unitOf(s[:end])
	switch {
	case end == 0:
		return 0, "", errors.New(`a unit is missing; write for example "150ms", "1s" or "5m"`)
	case !ok:
		return 0, "", fmt.Errorf("unit %q is unknown; units are ns, us, ms, s, m, h, d, w, M (month) and y", s[:end])
	}
	ns, ok = scale(whole, fraction, unit)
	if !ok {
		return 0, "", errTooLong
	}
	return ns, strings.TrimLeft(s[end:], " \t"), nil
}

func cutDigits(s string) (digits, rest string) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}

func unitOf(name string) (uint64, bool) {
	for _, u := range durationUnits() {
		for n := range strings.FieldsSeq(u.names) {
			if n == name {
				return u.ns, true
			}
		}
	}
	return 0, false
}

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes d as people do: `1s 500ms`, `2h 37m`, `1day`.
func (d Duration) String() string {
	if d <= 0 {
		return "0s"
	}
	rest := uint64(d)
	var b strings.Builder
	for _, u := range []struct {
		ns     uint64
		name   string
		plural string
	}{
		{year, "year", "s"}, {month, "month", "s"}, {day, "day", "s"}, {3600 * second, "h", ""}, {60 * second, "m", ""},
		{second, "s", ""}, {1e6, "ms", ""}, {1e3, "us", ""}, {1, "ns", ""},
	} {
		n := rest / u.ns
		if n == 0 {
			continue
		}
		rest %= u.ns
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%d%s", n, u.name)
		if n > 1 {
			b.WriteString(u.plural)
		}
	}
	return b.String()
}

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// Positive returns an error that names the key when d is 0: for periods, which the agent would refuse without saying which key it was.
func (d Duration) Positive(key string) error {
	if d <= 0 {
		return fmt.Errorf("%s must be greater than zero", key)
	}
	return nil
}

// ShortestPoll is the shortest period of a source: what reads files more often does nothing else, and measures itself.
const ShortestPoll = Duration(100e3)

// AtLeast returns an error that names the key when d is shorter than least.
func (d Duration) AtLeast(key string, least Duration) error {
	if d < least {
		return fmt.Errorf("%s must be at least %s, not %s", key, least, d)
	}
	return nil
}
