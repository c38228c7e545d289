package agent

import (
	"math"
	"testing"
)

func TestUnitNames(t *testing.T) {
	for _, c := range []struct {
		u               Unit
		unique, display string
	}{
		{Unit{}, "1", ""}, {Unit{Base: Byte}, "By", "B"}, {Unit{Prefix: Nano, Base: Second}, "nanos", "ns"},
		{Unit{Prefix: Milli, Base: Joule}, "milliJ", "mJ"}, {Unit{Prefix: Micro, Base: Watt}, "microW", "μW"},
		{Unit{Base: WattHour}, "W.h", "Wh"}, {Unit{Base: DegreeCelsius}, "Cel", "°C"}, {Unit{Base: DegreeFahrenheit}, "[degF]", "°F"},
		{Unit{Base: Custom, Unique: "g_CO2", Display: "gCO₂"}, "g_CO2", "gCO₂"},
	} {
		if c.u.UniqueName() != c.unique || c.u.DisplayName() != c.display {
			t.Errorf("%q %q, want %q %q", c.u.UniqueName(), c.u.DisplayName(), c.unique, c.display)
		}
		if got, err := ParseUnit(c.unique); c.u.Base != Custom && (err != nil || got != c.u) {
			t.Errorf("parse %q: %v %v", c.unique, got, err)
		}
	}
	for s, want := range map[string]Unit{"kW": {Prefix: Kilo, Base: Watt}, "mA": {Prefix: Milli, Base: Ampere}, "μs": {Prefix: Micro, Base: Second}} {
		if got, err := ParseUnit(s); err != nil || got != want {
			t.Errorf("parse %q: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "k", "KW", " kW", "m/s", "milli1", "nano"} {
		if u, err := ParseUnit(s); err == nil {
			t.Errorf("parse %q gives %v", s, u)
		}
	}
}

func FuzzParseUnit(f *testing.F) {
	f.Add("milliJ")
	f.Fuzz(func(t *testing.T, s string) {
		if u, err := ParseUnit(s); err == nil {
			if v, err := ParseUnit(u.UniqueName()); err != nil || v != u {
				t.Errorf("%q gives %v, which does not parse back: %v", s, u, err)
			}
		}
	})
}

func TestValues(t *testing.T) {
	for v, want := range map[Value]string{
		U64(math.MaxUint64): "18446744073709551615", F64(1): "1", F64(0.1): "0.1", F64(1e-7): "0.0000001", F64(1e21): "1000000000000000000000",
		F64(math.Inf(1)): "inf", F64(math.Inf(-1)): "-inf",
	} {
		if v.String() != want {
			t.Errorf("%s, want %s", v, want)
		}
	}
	if s := F64(math.NaN()).String(); s != "NaN" {
		t.Error(s)
	}
	if s := AttrUints([]uint64{1, 2, 3}).String(); s != "[1, 2, 3]" {
		t.Error(s)
	}
	if s := AttrBoolean(true).String(); s != "true" {
		t.Error(s)
	}
}

func TestRegistryDuplicates(t *testing.T) {
	r := NewRegistry()
	a, _ := r.Add(Metric{Name: "cpu", Unit: Unit{Prefix: Nano, Base: Second}, Attributes: []string{"kind"}})
	b, err := r.Add(Metric{Name: "cpu", Unit: Unit{Prefix: Nano, Base: Second}, Description: "other", Attributes: []string{"kind", "job_id"}})
	if err != nil || a != b || len(r.Attributes(a)) != 2 {
		t.Errorf("compatible definitions are not shared: %v", err)
	}
	if _, err := r.Add(Metric{Name: "cpu", Unit: Unit{Prefix: Milli, Base: Second}}); err == nil {
		t.Error("another unit was accepted")
	}
	c := r.AddRenamed(Metric{Name: "cpu", Type: TypeF64}, "far")
	d := r.AddRenamed(Metric{Name: "cpu", Type: TypeF64, Unit: Unit{Base: Byte}}, "far")
	e := r.AddRenamed(Metric{Name: "cpu", Type: TypeF64}, "far")
	if c.Name != "cpu_far" || d.Name != "cpu_far_2" || e != c {
		t.Error(c.Name, d.Name, e.Name)
	}
}

func TestAttrs(t *testing.T) {
	a := NewAttrs(Attr{"a", AttrUint(1)}, Attr{"b", AttrText("x")})
	b := a.With(Attr{"a", AttrUint(2)}, Attr{"c", AttrFloat(0.5)})
	if v, _ := a.Get("a"); v.String() != "1" {
		t.Error("the old set has changed")
	}
	if v, _ := b.Get("a"); v.String() != "2" || len(b.List()) != 3 {
		t.Error("the new set is wrong", b.List())
	}
	if _, ok := (*Attrs)(nil).Get("a"); ok {
		t.Error("nil has an attribute")
	}
}
