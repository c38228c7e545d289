package config

import (
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]Size{
		"0": 0, "7": 7, "100MB": 100e6, "100 mb": 100e6, "1.5GiB": 3 << 29, "1kB": 1000, "1KiB": 1024, "2T": 2e12, "12 bytes": 12,
	} {
		got, err := ParseSize(in)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q, which is read as %d, %v", in, got, again, err)
		}
	}
	for in, want := range map[string]string{"": "number is missing", "-1": "number is missing", "5 MW": "is unknown", "9999999999TB": "too large"} {
		if _, err := ParseSize(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseSize(%q) = %v; want an error with %q", in, err, want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"100MB", "1.5GiB", "0", "-", "1..b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseSize(s)
		if err != nil {
			return
		}
		if again, err := ParseSize(v.String()); err != nil || again != v {
			t.Errorf("%q is written %q, which is read as %d, %v", s, v, again, err)
		}
	})
}
