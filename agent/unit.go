package agent

import (
	"fmt"
	"strings"
)

// Unit is the unit of a metric: a base unit with an optional decimal prefix, or a custom one. Names follow the Unified
// Code for Units of Measure as far as the user book does: the unique name is prefix word plus base code (`milliJ`,
// `nanos`), the display name is what people read (`mJ`, `ns`). The zero Unit is Unity.
type Unit struct {
	Prefix Prefix
	Base   Base
	// Unique and Display name a custom unit, whose Base is Custom.
	Unique, Display string
}

// Prefix is a decimal prefix.
type Prefix uint8

// The prefixes, from none to giga.
const (
	Plain Prefix = iota
	Nano
	Micro
	Milli
	Kilo
	Mega
	Giga
)

// Base is a unit without prefix.
type Base uint8

// The base units.
const (
	Unity Base = iota
	Second
	Watt
	Joule
	Volt
	Ampere
	Hertz
	DegreeCelsius
	DegreeFahrenheit
	WattHour
	Byte
	Percent
	Custom
)

type unitName struct{ unique, display string }

var prefixNames = [...]unitName{
	Plain: {"", ""}, Nano: {"nano", "n"}, Micro: {"micro", "μ"}, Milli: {"milli", "m"},
	Kilo: {"kilo", "k"}, Mega: {"mega", "M"}, Giga: {"giga", "G"},
}

var baseNames = [...]unitName{
	Unity: {"1", ""}, Second: {"s", "s"}, Watt: {"W", "W"}, Joule: {"J", "J"}, Volt: {"V", "V"}, Ampere: {"A", "A"},
	Hertz: {"Hz", "Hz"}, DegreeCelsius: {"Cel", "°C"}, DegreeFahrenheit: {"[degF]", "°F"}, WattHour: {"W.h", "Wh"},
	Byte: {"By", "B"}, Percent: {"%", "%"},
}

// UniqueName is the name for machines, such as `nanos`.
func (u Unit) UniqueName() string {
	if u.Base == Custom {
		return u.Unique
	}
	return prefixNames[u.Prefix].unique + baseNames[u.Base].unique
}

// DisplayName is the name for people, such as `ns`; it is empty for a number without dimension.
func (u Unit) DisplayName() string {
	if u.Base == Custom {
		return u.Display
	}
	return prefixNames[u.Prefix].display + baseNames[u.Base].display
}

// String returns the unique name.
func (u Unit) String() string { return u.UniqueName() }

// ParseUnit reads a unique name, or a prefix's display form before a base's unique name (`kW`). Custom units cannot be
// parsed: an unknown text is an error that names it.
func ParseUnit(s string) (Unit, error) {
	for b := range Custom {
		if baseNames[b].unique == s {
			return Unit{Base: b}, nil
		}
	}
	for p := Giga; p > Plain; p-- {
		for _, name := range []string{prefixNames[p].unique, prefixNames[p].display} {
			rest, ok := strings.CutPrefix(s, name)
			if !ok || rest == "" {
				continue
			}
			for b := range Custom {
				if b != Unity && baseNames[b].unique == rest {
					return Unit{Prefix: p, Base: b}, nil
				}
			}
		}
	}
	return Unit{}, fmt.Errorf("unit %q is unknown", s)
}
