package sysfile

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ErrSyntax says that a kernel file does not hold what is expected.
var ErrSyntax = errors.New("unexpected content")

// Uint parses a decimal number that may have white space around it, such as a trailing newline.
func Uint(b []byte) (uint64, error) {
	v, ok := ParseUint(trim(b))
	if !ok {
		return 0, fmt.Errorf("%w: %q is no number", ErrSyntax, clip(b))
	}
	return v, nil
}

// ParseUint parses decimal digits and nothing else. It is written out by hand because the counters of all CPUs pass here at
// every tick and [strconv.ParseUint] takes twice as long.
func ParseUint(b []byte) (uint64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	var v uint64
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || v > math.MaxUint64/10 || v == math.MaxUint64/10 && d > math.MaxUint64%10 {
			return 0, false
		}
		v = v*10 + d
	}
	return v, true
}

// CutLine returns the first line of data without its newline, and what comes after it.
func CutLine(data []byte) (line, rest []byte) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return data[:i], data[i+1:]
	}
	return data, nil
}

// CutField returns the first field of a line, which ends at a space or tab, and what comes after it. The field is empty
// when there is none left.
func CutField(line []byte) (field, rest []byte) {
	i := 0
	for i < len(line) && isBlank(line[i]) {
		i++
	}
	j := i
	for j < len(line) && !isBlank(line[j]) {
		j++
	}
	return line[i:j], line[j:]
}

// CutUint cuts the first field of a line like [CutField] and parses it as a decimal number.
func CutUint(line []byte) (v uint64, rest []byte, ok bool) {
	f, rest := CutField(line)
	v, ok = ParseUint(f)
	return v, rest, ok
}

// KeyUint finds the value of a key in a flat-keyed file, such as cpu.stat, memory.stat or meminfo, whose lines are `key
// value` or `key: value kB`. ok is false when the key is not there or its value is no number.
func KeyUint(data []byte, key string) (v uint64, ok bool) {
	for len(data) > 0 {
		var line []byte
		line, data = CutLine(data)
		if len(line) <= len(key) || string(line[:len(key)]) != key {
			continue
		}
		rest := line[len(key):]
		if rest[0] == ':' {
			rest = rest[1:]
		} else if !isBlank(rest[0]) {
			continue
		}
		v, _, ok = CutUint(rest)
		return v, ok
	}
	return 0, false
}

// maxCPU bounds the numbers of [ParseCPUList], so that a broken list cannot ask for all memory. It is far above what a
// kernel can be built for.
const maxCPU = 1 << 16

// ParseCPUList parses a list of CPUs as the kernel writes it, such as `0-3,8`, into ascending numbers without repetition.
// An empty list is no error. Strides (`0-8:2/4`), which the kernel reads but does not write, are not accepted.
func ParseCPUList(s string) ([]int, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, nil
	}
	var list []int
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.ParseUint(from, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: CPU list %q", ErrSyntax, clip([]byte(s)))
		}
		b, err := strconv.ParseUint(to, 10, 32)
		if err != nil || b < a || b >= maxCPU || len(list) > maxCPU {
			return nil, fmt.Errorf("%w: CPU list %q", ErrSyntax, clip([]byte(s)))
		}
		for n := a; n <= b; n++ {
			list = append(list, int(n))
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// trim removes white space and NUL bytes around b.
func trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func isSpace(c byte) bool { return isBlank(c) || c == '\n' || c == '\r' || c == 0 }

// clip shortens what is quoted in an error.
func clip(b []byte) []byte {
	if len(b) > 64 {
		return b[:64]
	}
	return b
}
