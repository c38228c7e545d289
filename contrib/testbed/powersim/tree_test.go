package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTree(t *testing.T) {
	f := newFake(t, 4)
	s := f.start(func(c *config) { c.packages = 2; c.dram = true })
	for name, want := range map[string]string{
		"class/powercap/intel-rapl/enabled":                                    "1",
		"class/powercap/intel-rapl:0/name":                                     "package-0",
		"class/powercap/intel-rapl:1/name":                                     "package-1",
		"class/powercap/intel-rapl:1:0/name":                                   "core",
		"class/powercap/intel-rapl:1:1/name":                                   "dram",
		"class/powercap/intel-rapl:1:1/max_energy_range_uj":                    "262143328850",
		"class/powercap/intel-rapl:0/constraint_0_max_power_uw":                "140000000",
		"devices/virtual/powercap/intel-rapl/intel-rapl:0/energy_uj":           "0000000000000000",
		"class/powercap/intel-rapl:0/intel-rapl:0:1/energy_uj":                 "0000000000000000",
		"devices/system/cpu/online":                                            "0-3",
		"devices/system/cpu/cpu1/topology/physical_package_id":                 "0",
		"devices/system/cpu/cpu2/topology/physical_package_id":                 "1",
		"devices/system/cpu/cpu3/topology/core_id":                             "1",
		"devices/system/cpu/cpu3/topology/package_cpus_list":                   "2-3",
		"devices/virtual/powercap/intel-rapl/intel-rapl:1/intel-rapl:1:0/name": "core",
	} {
		b, err := os.ReadFile(filepath.Join(s.cfg.dir, name))
		if err != nil || string(b) != want+"\n" {
			t.Errorf("%s: %q, %v, want %q", name, b, err, want)
		}
	}
	if b, err := os.ReadFile(filepath.Join(s.cfg.dir, "SIMULATED")); err != nil || !strings.Contains(string(b), "simulated") {
		t.Errorf("SIMULATED: %q, %v", b, err)
	}
	target, err := os.Readlink(filepath.Join(s.cfg.dir, "class/powercap/intel-rapl:1:0"))
	if want := "../../devices/virtual/powercap/intel-rapl/intel-rapl:1/intel-rapl:1:0"; err != nil || target != want {
		t.Errorf("link to %q, %v, want %q", target, err, want)
	}
}

// TestKeptOpen: a file that a reader keeps open shows every new value, in the
// same number of bytes.
func TestKeptOpen(t *testing.T) {
	f := newFake(t, 1)
	s := f.start(nil)
	file, err := os.Open(filepath.Join(s.cfg.dir, "class/powercap/intel-rapl:0/energy_uj"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, want := range []string{"0000000000030000\n", "0000000000060000\n"} {
		tick(t, s, 1e6)
		var b [64]byte
		n, err := unix.Pread(int(file.Fd()), b[:], 0)
		if err != nil || string(b[:n]) != want {
			t.Errorf("read %q, %v, want %q", b[:n], err, want)
		}
	}
}

func TestTreeClaims(t *testing.T) {
	f := newFake(t, 2)
	s := f.start(func(c *config) { c.packages = 2; c.dram = true })
	again := s.cfg
	again.packages, again.dram = 1, false
	if _, err := newSimulator(again); err == nil || !strings.Contains(err.Error(), "another powersim runs") {
		t.Errorf("second one in the same folder: %v", err)
	}
	s.close()
	s, err := newSimulator(again)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, err := os.Stat(filepath.Join(again.dir, "class/powercap/intel-rapl:1")); err == nil {
		t.Error("the older tree's second package is still there")
	}

	foreign := again
	foreign.dir = t.TempDir()
	letter := filepath.Join(foreign.dir, "letter")
	if err := os.WriteFile(letter, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := newSimulator(foreign); err == nil || !strings.Contains(err.Error(), "neither empty nor") {
		t.Errorf("folder of another: %v", err)
	}
	if _, err := os.Stat(letter); err != nil {
		t.Error(err)
	}
}
