package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseCPUs(t *testing.T) {
	f := func(list string, want ...int) {
		t.Helper()
		got, err := parseCPUs(list)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v, want %v", list, got, err, want)
		}
		if s := formatCPUs(got); s != strings.TrimSpace(list) {
			t.Errorf("%q is written back as %q", list, s)
		}
	}
	f("0", 0)
	f("0-3\n", 0, 1, 2, 3)
	f("0-1,4,7-8", 0, 1, 4, 7, 8)
	for _, bad := range []string{"", "a", "3-1", "-1", "0-", "0,,1", "0-99999999"} {
		if got, err := parseCPUs(bad); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
}

func FuzzParseCPUs(f *testing.F) {
	f.Add("0-1,4")
	f.Add("")
	f.Fuzz(func(t *testing.T, list string) {
		cpus, err := parseCPUs(list)
		if err != nil {
			return
		}
		if again, err := parseCPUs(formatCPUs(cpus)); err != nil || !reflect.DeepEqual(again, cpus) {
			t.Errorf("%q: %v, read back %v, %v", list, cpus, again, err)
		}
	})
}

func TestReadMachine(t *testing.T) {
	sys := t.TempDir()
	dir := filepath.Join(sys, "devices/system/cpu")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"online": "0,2-5", "possible": "0-7", "present": "0-5"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := readMachine(sys, 2)
	if err != nil {
		t.Fatal(err)
	}
	if want := [][]int{{0, 2}, {3, 4, 5}}; !reflect.DeepEqual(m.packages, want) {
		t.Errorf("packages %v, want %v", m.packages, want)
	}
	if want := []int{0, -1, 0, 1, 1, 1, -1, -1}; !reflect.DeepEqual(m.slots, want) {
		t.Errorf("slots %v, want %v", m.slots, want)
	}
	if n, err := m.count("1-3\n"); err != nil || n != [maxPackages]uint64{1, 1} {
		t.Errorf("CPUs 1-3: %v, %v", n, err)
	}
	for _, n := range []int{0, 3, -1} {
		if _, err := readMachine(sys, n); err == nil {
			t.Errorf("%d packages: no error", n)
		}
	}
	if _, err := readMachine(filepath.Join(sys, "none"), 1); err == nil {
		t.Error("no error without CPUs")
	}
}

func TestFindCgroups(t *testing.T) {
	const hybrid = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
99 31 0:31 / /mnt/cpuset rw,relatime - cgroup cgroup rw,cpuset
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	got, err := findCgroups(hybrid)
	want := cgroupRoots{"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/unified"}
	if err != nil || got != want {
		t.Errorf("hybrid machine: %+v, %v", got, err)
	}
	got, err = findCgroups("25 30 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
	if err != nil || got != (cgroupRoots{unified: "/sys/fs/cgroup"}) {
		t.Errorf("unified machine: %+v, %v", got, err)
	}
	if _, err := findCgroups("garbage - cgroup\n"); !errors.Is(err, errNoCgroups) {
		t.Errorf("no cgroups: %v", err)
	}
}

func TestParseCounters(t *testing.T) {
	slots := []int{0, 1, -1}
	got, err := parsePerCPU([]byte("10 200 3000 \n"), slots)
	if want := (reading{total: 3210, pkg: [maxPackages]uint64{10, 200}}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "1 2\n", "1 2 3 4 \n", "1 2 x \n", "1 2 -3 \n"} {
		if got, err := parsePerCPU([]byte(bad), slots); err == nil {
			t.Errorf("%q: %+v, want an error", bad, got)
		}
	}
	got, err = parseCPUStat([]byte("usage_usec 7\nuser_usec 1\n"), 1)
	if want := (reading{total: 7000, pkg: [maxPackages]uint64{7000}}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = parseCPUStat([]byte("nr 5\nusage_usec 7"), 2)
	if want := (reading{total: 7000}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "usage_usec ", "xusage_usec 5\n", "usage_usec x"} {
		if got, err := parseCPUStat([]byte(bad), 1); err == nil {
			t.Errorf("%q: %+v, want an error", bad, got)
		}
	}
}

func FuzzParseCounters(f *testing.F) {
	f.Add([]byte("10 200 \n"))
	f.Add([]byte("usage_usec 7\nuser_usec 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parsePerCPU(b, []int{0, 1}); err == nil && r.total != r.pkg[0]+r.pkg[1] {
			t.Errorf("%q: %+v does not add up", b, r)
		}
		if r, err := parseCPUStat(b, 1); err == nil && r.total != r.pkg[0] {
			t.Errorf("%q: %+v does not add up", b, r)
		}
	})
}

func TestReading(t *testing.T) {
	a := reading{total: 10, pkg: [maxPackages]uint64{7, 3}}
	b := reading{total: 14, pkg: [maxPackages]uint64{7, 7}}
	if got := b.since(a); got != (reading{total: 4, pkg: [maxPackages]uint64{0, 4}}) {
		t.Errorf("forward: %+v", got)
	}
	if got := a.since(b); got != a {
		t.Errorf("after a reset: %+v", got)
	}
	if got := a.minus(b); got != (reading{}) {
		t.Errorf("not below 0: %+v", got)
	}
}

func TestPowerFlag(t *testing.T) {
	f := func(text string, uw uint64, written string) {
		t.Helper()
		var w microwatts
		if err := w.Set(text); err != nil || uint64(w) != uw || w.String() != written {
			t.Errorf("%q: %d µW, %q, %v", text, uint64(w), w.String(), err)
		}
	}
	f("20", 20e6, "20")
	f("31.5", 31500000, "31.5")
	f("0.000001", 1, "0.000001")
	f("0", 0, "0")
	f(".5", 500000, "0.5")
	for _, bad := range []string{"", ".", "-1", "1.0000001", "x", "1e3", "10001", "1.2.3"} {
		var w microwatts
		if err := w.Set(bad); err == nil {
			t.Errorf("%q is %d µW, want an error", bad, uint64(w))
		}
	}
}
