package config

import (
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "1s": time.Second, " 1s ": time.Second, "150ms": 150 * time.Millisecond, "1m 30s": 90 * time.Second,
		"1m30s": 90 * time.Second, "4.2s": 4200 * time.Millisecond, "1.5h": 90 * time.Minute, "0.1ms": 100 * time.Microsecond,
		"200 µs": 200 * time.Microsecond, "200us": 200 * time.Microsecond, "7 nanos": 7, "2h 37m": 2*time.Hour + 37*time.Minute,
		"1day": 24 * time.Hour, "2weeks": 14 * 24 * time.Hour, "1M": 2630016 * time.Second, "1y": 31557600 * time.Second,
		"1.9999999999999999999s": 1999999999, "5min 3 seconds": 303 * time.Second, "9223372036854775807ns": 9223372036854775807,
	} {
		if got, err := ParseDuration(in); err != nil || got.Std() != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", in, got.Std(), err, want)
		}
	}
	for in, want := range map[string]string{
		"":                      "empty",
		"5":                     "unit is missing",
		"1s 5":                  "unit is missing",
		"s":                     "number is missing",
		".5s":                   "number is missing",
		"1.s":                   "number is missing",
		"-1s":                   "number is missing",
		"1S":                    `"S" is unknown`,
		"1fortnight":            "is unknown",
		"300y":                  "292 years",
		"99999999999999999999s": "292 years",
		"292y 292y":             "292 years",
	} {
		if _, err := ParseDuration(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseDuration(%q) = %v; want an error with %q", in, err, want)
		}
	}
}

func TestDurationString(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 1500 * time.Millisecond: "1s 500ms", 2*time.Hour + 37*time.Minute: "2h 37m",
		24 * time.Hour: "1day", 48 * time.Hour: "2days", 150 * time.Microsecond: "150us", 1: "1ns",
		31557600 * time.Second: "1year", 2 * 2630016 * time.Second: "2months", time.Minute: "1m",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%v is written %q; want %q", d, got, want)
		}
	}
}

func TestDurationPositive(t *testing.T) {
	if err := Duration(1).Positive("poll_interval"); err != nil {
		t.Error(err)
	}
	if err := Duration(0).Positive("poll_interval"); err == nil || !strings.Contains(err.Error(), "poll_interval") {
		t.Error(err)
	}
}

func TestAtLeast(t *testing.T) {
	if err := ShortestPoll.AtLeast("poll_interval", ShortestPoll); err != nil {
		t.Error(err)
	}
	for d, want := range map[Duration]string{
		1: "poll_interval must be at least 100us, not 1ns", 0: "poll_interval must be at least 100us, not 0s", 99_999: "not 99us 999ns",
	} {
		if err := d.AtLeast("poll_interval", ShortestPoll); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("AtLeast of %d ns: %v, want %q", d, err, want)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"1s", "1m 30s", "4.2s", "0", "1.5h", "300y", "1 µs", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 {
			t.Errorf("ParseDuration(%q) = %d", s, d)
		}
		if again, err := ParseDuration(d.String()); err != nil || again != d {
			t.Errorf("%q is written %q, which is read as %v, %v", s, d, again, err)
		}
	})
}
