package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// FormatJoules writes an energy in joules, to the microjoule and so without rounding.
func FormatJoules(uj uint64) string { return fmt.Sprintf("%d.%06d", uj/1e6, uj%1e6) }

// formatRoundJoules writes an energy in joules for where nothing is added up.
func formatRoundJoules(uj uint64) string {
	mj := (uj + 500) / 1000
	return fmt.Sprintf("%d.%03d", mj/1000, mj%1000)
}

// joules is for JSON: the float nearest to the exact value.
func joules(uj uint64) float64 { return float64(uj) / 1e6 }

// wattHours is for JSON.
func wattHours(uj uint64) float64 { return float64(uj) / 3.6e9 }

// formatWh writes watt-hours with about four digits that mean something.
func formatWh(uj uint64) string { return formatAbout(wattHours(uj), 6) }

// formatAbout writes a number with more decimals the smaller it is, at most so many.
func formatAbout(v float64, decimals int) string {
	if v == 0 {
		return "0"
	}
	n := 3 - int(math.Floor(math.Log10(v)))
	return strconv.FormatFloat(v, 'f', min(max(n, 1), decimals), 64)
}

func formatWatts(w float64) string {
	if w == 0 {
		return "-"
	}
	return strconv.FormatFloat(w, 'f', 2, 64)
}

// formatPercent writes a ratio in percent. What is not all never looks like it: 99.97 is not 100.
func formatPercent(r float64) string {
	if r < 1 && r > 0.9995 {
		return ">99.9%"
	}
	return strconv.FormatFloat(100*r, 'f', 1, 64) + "%"
}

// formatUncertainty writes the bound as a part of the figure, in percent without the sign.
func formatUncertainty(a Amount) string {
	switch {
	case a.UncertainUJ == 0:
		return "0"
	case a.UJ == 0:
		return "-"
	}
	p := 100 * ratio(a.UncertainUJ, a.UJ)
	if p < 0.01 {
		return "<0.01"
	}
	return strconv.FormatFloat(p, 'f', 2, 64)
}

// formatSpan writes a duration with its two largest units, seconds with decimals where they matter.
func formatSpan(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d days %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// formatAge writes how long ago something was, to the second.
func formatAge(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%d s", max(0, d)/time.Second)
	}
	return formatSpan(d)
}

// formatShortSpan writes a duration for a column: 1:02:03.
func formatShortSpan(ns int64) string {
	d := time.Duration(max(0, ns))
	if d < 10*time.Second {
		return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + "s"
	}
	s := int64(d / time.Second)
	if s >= 86400 {
		return fmt.Sprintf("%d-%02d:%02d:%02d", s/86400, s%86400/3600, s%3600/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s%3600/60, s%60)
}

func formatTime(unixNs int64, zone *time.Location) string {
	return time.Unix(0, unixNs).In(zone).Format("2006-01-02 15:04:05 MST")
}

// cut shortens text to n characters and shows that it did.
func cut(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n-2]) + ".."
}

// printable makes text of users fit for a terminal: control characters, which could move its cursor or set its title,
// become question marks.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
}
