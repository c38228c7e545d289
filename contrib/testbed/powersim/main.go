// Powersim simulates RAPL, the energy counters of Intel's and AMD's CPUs, on
// machines that have none. It writes a fake root of /sys whose powercap tree
// holds counters that follow the CPU time which the kernel of this machine
// really counts, with made-up powers:
//
//	power of a package = --floor + --watts-per-core × its busy cores
//
// and beside it the truth: for every job of Slurm on the machine what its CPU
// time and its part of the floor came to. So a program that divides energy
// among jobs can be tested against figures that are known exactly. Nothing in
// it is a measurement of energy; a file SIMULATED in the tree says so too.
//
// # The tree
//
// It has the layout of a real /sys: devices/virtual/powercap/intel-rapl with
// intel-rapl:P (`package-P`), intel-rapl:P:0 (`core`: the part of the busy
// cores, without the floor) and, with --dram, intel-rapl:P:1 (`dram`: 2 W and
// an eighth of the core part, not contained in the package), the links to them
// in class/powercap, and devices/system/cpu with the real CPU numbers dealt to
// the simulated packages in contiguous parts. The counters are written once an
// interval into the same file, so that a file kept open shows them. They have
// always 16 digits, with leading zeros (read them as decimal, not as C's octal
// notation), so that no write is shorter than the one before. All zones have
// the same range, and all wrap from it to 0 as real ones do.
//
// # The truth
//
// --truth names a JSON file, replaced every 200 ms and at the end; all figures
// count from the start of the program. A job's dynamic_uj of a package is
// --watts-per-core times the time it used on CPUs of the package; its floor_uj
// is --floor times the part of the package's CPUs in its cpuset, as long as
// its group existed. Groups of one job id add up, over nodes that are
// simulated on one machine and over incarnations; --nodes leaves out those of
// another cluster, whose job ids may be the same. Steps have their own such
// figures: as cpusets overlap, floors of steps need not add up to the job's.
//
// Sums are exact; energies are rounded down to the µJ when they are written.
// What can differ from the kernel's books is this. The last CPU time of a group
// that vanished, since its last reading, is taken from its parent's counter;
// if several vanished from one parent in one interval, nobody knows whose it
// was: steps' then stays with their job alone, jobs' is in unassigned_cpu_ns.
// It is at most one interval, plus the kernel's tick (up to 10 ms) by which
// running tasks are booked, for each CPU of the group. A group that came and
// went unseen within one interval leaves its time to the next group that
// vanishes beside it. The floor may be wrong by one interval at each end of a
// group's life. Jobs whose groups are in cgroup v2 have CPU time in whole µs,
// without a split by CPU when there are two packages, and lose what they used
// after their last reading.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, stop))
}

// options are the flags that are no part of the simulator's configuration.
type options struct {
	truth               string
	interval            time.Duration
	cgroupRoot, cpusets string
}

// run is the program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer, stop <-chan os.Signal) int {
	cfg, o, err := parseFlags(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		err = simulate(cfg, o, stdout, stderr, stop)
	}
	if err != nil {
		fmt.Fprintln(stderr, "powersim:", err)
		return 1
	}
	return 0
}

// parseFlags reads the flags and finds the cgroup hierarchies.
func parseFlags(args []string, stderr io.Writer) (config, options, error) {
	cfg := config{sys: "/sys", power: power{perCore: 20e6}}
	var o options
	f := flag.NewFlagSet("powersim", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&cfg.dir, "dir", "", "make the tree in this `folder` (on tmpfs, best: it is written at every interval)")
	f.IntVar(&cfg.packages, "packages", 1, "simulate this `number` of packages, 1 or 2")
	f.Var(&cfg.power.floor, "floor", "power of a package without load, in `watts`")
	f.Var(&cfg.power.perCore, "watts-per-core", "additional power of a busy core, in `watts`")
	f.BoolVar(&cfg.dram, "dram", false, "simulate memory zones as well")
	f.Uint64Var(&cfg.rangeUJ, "range-uj", 262143328850, "largest value of the counters, in `µJ`")
	f.Uint64Var(&cfg.startUJ, "start-uj", 0, "first value of the counters, in `µJ`")
	f.StringVar(&o.truth, "truth", "", "write what each job really used to this `file`")
	f.Func("nodes", "write the truth of jobs on these nodes of Slurm's alone, `names` with commas (default: all)", func(list string) error {
		cfg.nodes = strings.Split(list, ",")
		return nil
	})
	f.DurationVar(&o.interval, "interval", time.Millisecond, "read and write the counters once in this `time`")
	f.StringVar(&o.cgroupRoot, "cgroup-root", "", "cpuacct (v1) or unified (v2) hierarchy; default: those that are mounted")
	f.StringVar(&o.cpusets, "cpuset-root", "", "cpuset hierarchy that belongs to --cgroup-root")
	if err := f.Parse(args); err != nil {
		return cfg, o, err
	}
	const highest = 9999999999999999 // energyWidth digits
	switch {
	case f.NArg() > 0:
		return cfg, o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case cfg.dir == "":
		return cfg, o, errors.New("--dir is required")
	case cfg.rangeUJ == 0 || cfg.rangeUJ > highest:
		return cfg, o, fmt.Errorf("--range-uj %d: want 1..%d", cfg.rangeUJ, uint64(highest))
	case cfg.startUJ > cfg.rangeUJ:
		return cfg, o, fmt.Errorf("--start-uj %d is over the range %d", cfg.startUJ, cfg.rangeUJ)
	case o.interval < 100*time.Microsecond || o.interval > time.Second:
		return cfg, o, fmt.Errorf("--interval %v: want 100µs..1s", o.interval)
	}
	var err error
	cfg.roots, err = findRoots(o, stderr)
	return cfg, o, err
}

// findRoots finds the cgroup hierarchies, and says what their kind implies.
func findRoots(o options, stderr io.Writer) (cgroupRoots, error) {
	var roots cgroupRoots
	var err error
	if o.cgroupRoot != "" {
		roots, err = rootsFrom(o.cgroupRoot, o.cpusets)
	} else {
		var b []byte
		if b, err = os.ReadFile("/proc/self/mountinfo"); err == nil {
			roots, err = findCgroups(string(b))
		}
	}
	if err != nil {
		return roots, fmt.Errorf("find the cgroups: %w", err)
	}
	if roots.cpuacct == "" {
		fmt.Fprintln(stderr, "powersim: no cpuacct hierarchy: the split by CPU is not available with cgroup v2, one package only")
	}
	return roots, nil
}

// simulate runs the simulator until a signal comes.
func simulate(cfg config, o options, stdout, stderr io.Writer, stop <-chan os.Signal) error {
	// The thread sleeps and reads by itself, and before others where that is
	// allowed: a late reading loses no energy but a vanishing group's last ms.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, _ := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -15); err == nil {
		defer unix.Setpriority(unix.PRIO_PROCESS, 0, 20-before) // the system call returns 20 less nice
	}
	s, err := newSimulator(cfg)
	if err != nil {
		return err
	}
	defer s.close()
	l := &loop{s: s, interval: o.interval, stop: stop, since: time.Now().UnixNano()}
	if o.truth != "" {
		if err := replaceFile(o.truth, []byte("{\"simulated\":true}\n")); err != nil {
			return err
		}
		l.file = newTruthFile(o.truth)
	}
	if _, err := fmt.Fprintln(stdout, "ready"); err != nil {
		return fmt.Errorf("say ready: %w", err)
	}
	err = l.run()
	if l.file != nil {
		err = errors.Join(err, l.file.close(s.report(l.since, time.Now().UnixNano())))
	}
	l.summary(stderr)
	return err
}
