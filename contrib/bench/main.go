// Command bench prints what the hot path costs, one figure a line: name, value, unit, reference, ratio, separated by tabs.
// The reference is measured in the same run, alternating with the figure, because absolute times of a shared machine say
// little. It makes job groups of its own below the cpuacct hierarchy (it must be root) and removes them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1"
	"golang.org/x/sys/unix"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/config"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
	"github.com/alumet-hpc/alumet-hpc/hwsources/rapl"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/jobenergy"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
	"github.com/alumet-hpc/alumet-hpc/scheduler/slurm"
)

func main() {
	rounds := flag.Int("rounds", 60, "how often each figure is measured")
	flag.Parse()
	if err := run(*rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(rounds int) error {
	if os.Getuid() != 0 {
		return errors.New("needs root, to make control groups to read")
	}
	dir, err := os.MkdirTemp("", "alumet-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, n := range []int{1, 100, 1000} {
		if err := tick(filepath.Join(dir, strconv.Itoa(n)), n, rounds); err != nil {
			return fmt.Errorf("tick with %d groups: %w", n, err)
		}
	}
	return nil
}

// tick measures one whole tick over n job groups: energy, usage of every group, settlement, points; beside a bare loop of
// one pread for each of the same files, and beside containerd/cgroups.
func tick(dir string, n, rounds int) (err error) {
	groups, remove, err := makeGroups(n)
	defer func() { err = errors.Join(err, remove()) }()
	if err != nil {
		return err
	}
	node, err := openNode(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.close()) }()
	files, err := openCounters(groups)
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range files {
			unix.Close(f)
		}
	}()
	peers, err := loadPeers(groups)
	if err != nil {
		return err
	}
	for range 3 { // everything is found, grown and warm
		if err := node.tick(); err != nil {
			return err
		}
	}
	var buf [64]byte
	ours, floor, peer := make([]float64, rounds), make([]float64, rounds), make([]float64, rounds)
	for i := range rounds {
		floor[i] = micros(func() error { return preads(files, buf[:]) }, &err)
		ours[i] = micros(node.tick, &err)
		peer[i] = micros(func() error { return stats(peers) }, &err)
	}
	if err != nil {
		return err
	}
	a, b, c := median(ours), median(floor), median(peer)
	print(fmt.Sprintf("tick_%d_groups", n), a, "us", "pread_floor", a/b)
	print(fmt.Sprintf("tick_%d_groups", n), a, "us", "containerd_cgroups", a/c)
	print(fmt.Sprintf("pread_floor_%d", n), b, "us", "-", 1)
	return nil
}

func print(name string, value float64, unit, reference string, ratio float64) {
	fmt.Printf("%s\t%.1f\t%s\t%s\t%.3f\n", name, value, unit, reference, ratio)
}

// node is an agent's plugins, polled by hand.
type node struct {
	book    *jobenergy.Book
	plugins []*agent.Opened
	sources []agent.Source
	batch   agent.Batch
}

func openNode(dir string) (*node, error) {
	sys := filepath.Join(dir, "sys")
	if err := writePowercap(sys); err != nil {
		return nil, err
	}
	topology, err := sysfile.ReadTopology("/sys")
	if err != nil {
		return nil, err
	}
	var sockets []jobs.Socket
	for _, s := range topology.Sockets {
		sockets = append(sockets, jobs.Socket{ID: s.ID, CPUs: s.CPUs})
	}
	c := *jobenergy.Plugin(nil).Defaults().(*jobenergy.Config)
	c.Store = filepath.Join(dir, "jobs.db")
	c.Commit = config.Duration(time.Hour) // commits are written beside the loop
	n := &node{}
	if n.book, err = jobenergy.Open(c, jobenergy.Options{Sockets: sockets, Node: "bench"}); err != nil {
		return nil, err
	}
	tracker := cgroups.New(n.book)
	n.book.Follow(tracker.Refresh)
	metrics := agent.NewRegistry()
	for _, p := range []agent.Plugin{rapl.Plugin(), slurm.Plugin(tracker), jobenergy.Plugin(n.book)} {
		o := agent.OpenOptions{Meter: n.book, Metrics: metrics, Sys: "/sys"}
		if p.Name == "rapl" {
			o.Sys = sys
		}
		opened, err := agent.Open(p, nil, o)
		if err != nil {
			return nil, errors.Join(err, n.close())
		}
		n.plugins = append(n.plugins, opened)
		for _, s := range opened.Sources {
			n.sources = append(n.sources, s)
		}
	}
	return n, nil
}

func (n *node) tick() error {
	now := n.book.Clock().Now()
	n.batch.Reset()
	for _, s := range n.sources {
		if err := s.Poll(&n.batch, now); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) close() error {
	var errs []error
	for _, p := range slices.Backward(n.plugins) {
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, n.book.Close())...)
}

// writePowercap makes the smallest RAPL there is: one package whose counter stands still.
func writePowercap(sys string) error {
	zone := filepath.Join(sys, "class/powercap/intel-rapl:0")
	if err := os.MkdirAll(zone, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"name": "package-0", "energy_uj": "1000000", "max_energy_range_uj": "262143328850"} {
		if err := os.WriteFile(filepath.Join(zone, name), []byte(text+"\n"), 0o644); err != nil {
			return err
		}
	}
	cpu := filepath.Join(sys, "devices/system/cpu")
	if err := os.MkdirAll(cpu, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(cpu, "online"), []byte("0\n"), 0o644)
}

// makeGroups makes n job groups as Slurm does, in the cpuacct hierarchy.
func makeGroups(n int) (paths []string, remove func() error, err error) {
	root := filepath.Join("/sys/fs/cgroup/cpuacct", fmt.Sprintf("slurm_bench%d", os.Getpid()))
	user := filepath.Join(root, "uid_0")
	made := []string{root, user}
	for i := range n {
		p := filepath.Join(user, fmt.Sprintf("job_%d", i+1))
		paths, made = append(paths, p), append(made, p)
	}
	remove = func() error {
		var errs []error
		for _, p := range slices.Backward(made) {
			if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	}
	for _, p := range made {
		if err := os.Mkdir(p, 0o755); err != nil {
			return nil, remove, err
		}
	}
	return paths, remove, nil
}

// openCounters opens the files that a tick reads of each group: the CPU time in ns, and its parts in user and kernel mode.
func openCounters(groups []string) (fds []int, err error) {
	for _, g := range groups {
		for _, name := range []string{"cpuacct.usage", "cpuacct.stat"} {
			fd, err := unix.Open(filepath.Join(g, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return fds, err
			}
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

func preads(fds []int, buf []byte) error {
	for _, fd := range fds {
		if _, err := unix.Pread(fd, buf, 0); err != nil {
			return err
		}
	}
	return nil
}

// loadPeers opens the groups with containerd/cgroups, for the hierarchy that we read only.
func loadPeers(groups []string) (list []cgroup1.Cgroup, err error) {
	hierarchy := func() ([]cgroup1.Subsystem, error) {
		return []cgroup1.Subsystem{cgroup1.NewCpuacct("/sys/fs/cgroup")}, nil
	}
	for _, g := range groups {
		path, err := filepath.Rel("/sys/fs/cgroup/cpuacct", g)
		if err != nil {
			return nil, err
		}
		c, err := cgroup1.Load(cgroup1.StaticPath("/"+path), cgroup1.WithHierarchy(hierarchy))
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func stats(list []cgroup1.Cgroup) error {
	for _, c := range list {
		if _, err := c.Stat(); err != nil {
			return err
		}
	}
	return nil
}

func micros(f func() error, err *error) float64 {
	begin := time.Now()
	if e := f(); e != nil && *err == nil {
		*err = e
	}
	return float64(time.Since(begin).Nanoseconds()) / 1e3
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}
