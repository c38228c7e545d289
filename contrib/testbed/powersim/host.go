package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxPackages bounds --packages, and with it the arrays of per-package figures.
const maxPackages = 2

// machine is the real machine's CPUs with the simulated packages.
type machine struct {
	online, possible, present string      // as the kernel writes them
	packages                  [][]int     // online CPU numbers of each package
	byNumber                  map[int]int // package of each online CPU
	// slots has the package of each number in cpuacct.usage_percpu, which
	// lists the possible CPUs in order; -1 for CPUs that are not online.
	slots []int
}

// readMachine reads the CPUs of the machine below sys, for instance /sys, and
// deals the online ones to n packages in contiguous parts. CPUs that come or
// go later are not followed.
func readMachine(sys string, n int) (*machine, error) {
	var m machine
	for _, f := range []struct {
		name string
		text *string
	}{{"online", &m.online}, {"possible", &m.possible}, {"present", &m.present}} {
		b, err := os.ReadFile(filepath.Join(sys, "devices/system/cpu", f.name))
		if err != nil {
			return nil, fmt.Errorf("read the CPUs of the machine: %w", err)
		}
		*f.text = strings.TrimSpace(string(b))
	}
	online, err := parseCPUs(m.online)
	if err != nil {
		return nil, fmt.Errorf("online CPUs: %w", err)
	}
	possible, err := parseCPUs(m.possible)
	if err != nil {
		return nil, fmt.Errorf("possible CPUs: %w", err)
	}
	if n < 1 || n > maxPackages || n > len(online) {
		return nil, fmt.Errorf("%d packages: want 1..%d, and no more than the %d CPUs", n, maxPackages, len(online))
	}
	m.byNumber = make(map[int]int)
	for p := range n {
		part := online[p*len(online)/n : (p+1)*len(online)/n]
		m.packages = append(m.packages, part)
		for _, cpu := range part {
			m.byNumber[cpu] = p
		}
	}
	for _, cpu := range possible {
		p, ok := m.byNumber[cpu]
		if !ok {
			p = -1
		}
		m.slots = append(m.slots, p)
	}
	return &m, nil
}

// all returns the number of CPUs in each package.
func (m *machine) all() (n [maxPackages]uint64) {
	for p, cpus := range m.packages {
		n[p] = uint64(len(cpus))
	}
	return n
}

// count returns how many of the listed CPUs are in each package. The text is
// one of cpuset.cpus; it must not be empty.
func (m *machine) count(list string) (n [maxPackages]uint64, err error) {
	cpus, err := parseCPUs(list)
	if err != nil {
		return n, err
	}
	for _, cpu := range cpus {
		if p, ok := m.byNumber[cpu]; ok {
			n[p]++
		}
	}
	return n, nil
}

// maxCPU bounds CPU numbers, so that a broken list cannot ask for much memory.
const maxCPU = 1 << 16

// parseCPUs reads a kernel CPU list such as "0-3,8".
func parseCPUs(list string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, err := strconv.Atoi(first)
		if err != nil {
			return nil, fmt.Errorf("CPU list %q: %w", list, err)
		}
		b, err := strconv.Atoi(last)
		if err != nil {
			return nil, fmt.Errorf("CPU list %q: %w", list, err)
		}
		if a < 0 || b < a || b > maxCPU {
			return nil, fmt.Errorf("CPU list %q: bad range %q", list, part)
		}
		for cpu := a; cpu <= b; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// formatCPUs writes CPU numbers as a kernel list of single numbers and ranges.
func formatCPUs(cpus []int) string {
	var b strings.Builder
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(cpus[i]))
		if j > i {
			b.WriteString("-" + strconv.Itoa(cpus[j]))
		}
		i = j + 1
	}
	return b.String()
}

// cgroupRoots are the mounted cgroup hierarchies that matter here; "" where
// one is not mounted.
type cgroupRoots struct {
	cpuacct string // v1, per-CPU usage
	cpuset  string // v1
	unified string // v2
}

// errNoCgroups: neither v1's cpuacct nor v2 is mounted.
var errNoCgroups = errors.New("no cgroup hierarchy counts CPU time here: neither cpuacct (v1) nor cgroup2 is mounted")

// findCgroups finds the hierarchies in the text of /proc/self/mountinfo.
func findCgroups(mountinfo string) (r cgroupRoots, err error) {
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(line, " - ")
		mount, super := strings.Fields(left), strings.Fields(right)
		if !ok || len(mount) < 5 || len(super) < 3 {
			continue
		}
		switch super[0] {
		case "cgroup2":
			setOnce(&r.unified, mount[4])
		case "cgroup":
			for option := range strings.SplitSeq(super[2], ",") {
				switch option {
				case "cpuacct":
					setOnce(&r.cpuacct, mount[4])
				case "cpuset":
					setOnce(&r.cpuset, mount[4])
				}
			}
		}
	}
	if r.cpuacct == "" && r.unified == "" {
		return r, errNoCgroups
	}
	return r, nil
}

// setOnce keeps the first of several mounts of one hierarchy.
func setOnce(s *string, v string) {
	if *s == "" {
		*s = v
	}
}
