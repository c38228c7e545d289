package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// power is the model: a package uses floor, and perCore for each of its cores
// that is busy.
type power struct{ floor, perCore microwatts }

// The memory's model: a constant power, and an eighth of the energy that the
// cores of its package use.
const (
	dramFloor = microwatts(2e6)
	dramShift = 3
)

// config is what the flags say. The roots are always set, except that those
// of hierarchies that are not mounted are "".
type config struct {
	dir      string
	packages int
	power    power
	dram     bool
	rangeUJ  uint64
	startUJ  uint64
	nodes    []string // Slurm's names of the nodes whose jobs count; empty: all
	roots    cgroupRoots
	sys      string // the real /sys
}

// simulator is the whole of it, without clock and files for the truth: what
// it does depends on the counters that it reads and on the ns that tick is
// told.
type simulator struct {
	cfg         config
	m           *machine
	tree        *tree
	r           *reader
	hierarchies []*hierarchy
	truth       *truth

	root      int // usage of the whole machine
	parseRoot func([]byte) (reading, error)
	prev      reading
	busy      reading // of the machine since the start
	elapsed   uint64  // ns since the start
}

// newSimulator makes the tree and takes all counters' values as their zeros.
// The caller must call close.
func newSimulator(cfg config) (*simulator, error) {
	m, err := readMachine(cfg.sys, cfg.packages)
	if err != nil {
		return nil, err
	}
	s := &simulator{cfg: cfg, m: m, r: newReader(), root: -1, truth: &truth{jobs: make(map[string]*account)}}
	if err := s.openCgroups(); err != nil {
		s.close()
		return nil, err
	}
	if s.tree, err = newTree(cfg, m); err != nil {
		s.close()
		return nil, err
	}
	if err := s.tick(0); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// openCgroups opens the machine's counter and the hierarchies for jobs: both,
// where both are mounted, as each Slurm uses one of them only.
func (s *simulator) openCgroups() error {
	perCPU := func(b []byte) (reading, error) { return parsePerCPU(b, s.m.slots) }
	total := func(b []byte) (reading, error) { return parseCPUStat(b, s.cfg.packages) }
	roots, file := s.cfg.roots, ""
	if roots.cpuacct != "" {
		file, s.parseRoot = filepath.Join(roots.cpuacct, "cpuacct.usage_percpu"), perCPU
		h := &hierarchy{levels: v1Levels(s.cfg.nodes), usageFile: "cpuacct.usage_percpu", parse: perCPU,
			cpusets: roots.cpuset, effective: "cpuset.effective_cpus", m: s.m, truth: s.truth, r: s.r}
		if err := h.open(roots.cpuacct); err != nil {
			return err
		}
		s.hierarchies = append(s.hierarchies, h)
	}
	if roots.unified != "" {
		h := &hierarchy{levels: v2Levels(s.cfg.nodes), usageFile: "cpu.stat", parse: total,
			cpusets: roots.unified, effective: "cpuset.cpus.effective", m: s.m, truth: s.truth, r: s.r}
		if err := h.open(roots.unified); err != nil {
			return err
		}
		s.hierarchies = append(s.hierarchies, h)
	}
	if roots.cpuacct == "" {
		if s.cfg.packages > 1 {
			return fmt.Errorf("%d packages: cgroup v2 does not count CPU time by CPU, so only one package can be simulated here", s.cfg.packages)
		}
		file, s.parseRoot = filepath.Join(roots.unified, "cpu.stat"), total
	}
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", file, err)
	}
	s.root = fd
	s.prev, err = s.readRoot()
	return err
}

// readRoot reads the CPU time of the whole machine.
func (s *simulator) readRoot() (reading, error) {
	b, err := s.r.file(s.root)
	if err != nil {
		return reading{}, fmt.Errorf("read the machine's CPU time: %w", err)
	}
	return s.parseRoot(b)
}

// tick reads all counters and shows the energy, ns after the last tick.
func (s *simulator) tick(ns uint64) error {
	now, err := s.readRoot()
	if err != nil {
		return err
	}
	s.busy = s.busy.plus(now.since(s.prev))
	s.prev = now
	s.elapsed += ns
	if err := s.show(); err != nil {
		return err
	}
	for _, h := range s.hierarchies {
		if err := h.tick(ns); err != nil {
			return fmt.Errorf("read the jobs' cgroups: %w", err)
		}
	}
	return nil
}

// show writes all counters of the tree.
func (s *simulator) show() error {
	for p, zs := range s.tree.packages {
		if err := zs.pkg.set(s.energy(p).microjoules(1)); err != nil {
			return err
		}
		if err := zs.core.set(s.cores(p).microjoules(1)); err != nil {
			return err
		}
		if zs.dram != nil {
			if err := zs.dram.set(s.dram(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

// energy returns what package p used since the start.
func (s *simulator) energy(p int) energy {
	return s.cfg.power.floor.over(s.elapsed).plus(s.cores(p))
}

// cores returns the part of the package's energy that its busy cores used.
func (s *simulator) cores(p int) energy {
	return s.cfg.power.perCore.over(s.busy.pkg[p])
}

// dram returns what the memory of package p used since the start, in µJ.
func (s *simulator) dram(p int) uint64 {
	return dramFloor.over(s.elapsed).microjoules(1) + s.cores(p).microjoules(1)>>dramShift
}

// report returns the truth so far; the times are those of its clock.
func (s *simulator) report(since, until int64) report {
	r := report{
		Simulated: true, SinceUnixNS: since, UntilUnixNS: until, ElapsedNS: s.elapsed,
		Packages:     make(map[string]packageReport),
		Jobs:         make(map[string]*jobReport),
		MachineCPUNS: s.busy.total, UnassignedCPU: s.truth.unassigned.total,
	}
	for p, zs := range s.tree.packages {
		one := packageReport{
			EnergyUJ: s.energy(p).microjoules(1),
			FloorUJ:  s.cfg.power.floor.over(s.elapsed).microjoules(1),
		}
		if zs.dram != nil {
			one.DRAMUJ = s.dram(p)
		}
		r.Packages[strconv.Itoa(p)] = one
	}
	for id, a := range s.truth.jobs {
		r.Jobs[id] = a.report(s.m, s.cfg.power)
	}
	return r
}

// close closes all files; the tree stays with its last figures.
func (s *simulator) close() {
	for _, h := range s.hierarchies {
		h.close()
	}
	if s.tree != nil {
		s.tree.close()
	}
	if s.root >= 0 {
		unix.Close(s.root)
	}
}

// rootsFrom returns the hierarchies below a given cgroup root: a cpuacct
// hierarchy (with cpusets, or "") or a unified one.
func rootsFrom(root, cpusets string) (cgroupRoots, error) {
	if _, err := os.Stat(filepath.Join(root, "cpuacct.usage_percpu")); err == nil {
		return cgroupRoots{cpuacct: root, cpuset: cpusets}, nil
	}
	if _, err := os.Stat(filepath.Join(root, "cpu.stat")); err == nil {
		return cgroupRoots{unified: root}, nil
	}
	return cgroupRoots{}, fmt.Errorf("%s has neither cpuacct.usage_percpu (v1) nor cpu.stat (v2)", root)
}
