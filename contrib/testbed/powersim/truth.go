package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
)

// truth is what every job really used, as far as the kernel counts it.
type truth struct {
	jobs map[string]*account
	// unassigned is CPU time that job groups used between their last reading
	// and their end, where it is not known which of several it was.
	unassigned reading
}

// account is what a job or a step has used, over all its groups: several
// incarnations of one, and those of several nodes that are simulated on this
// machine.
type account struct {
	used  reading
	held  [maxPackages]uint64 // ns of existence times CPUs in its cpuset
	steps map[string]*account // nil in a step
}

// job returns the account of a job, which is made at its first mention.
func (t *truth) job(id string) *account {
	a := t.jobs[id]
	if a == nil {
		a = &account{steps: make(map[string]*account)}
		t.jobs[id] = a
	}
	return a
}

// step returns the account of a step of job a, made at its first mention.
func (a *account) step(id string) *account {
	s := a.steps[id]
	if s == nil {
		s = &account{}
		a.steps[id] = s
	}
	return s
}

// hold bills ns of existence with n CPUs.
func (a *account) hold(ns uint64, n [maxPackages]uint64) {
	for p := range n {
		a.held[p] += ns * n[p]
	}
}

// report is the truth file. All figures are cumulative since the start;
// energies are in µJ, rounded down, times in ns.
type report struct {
	Simulated     bool                     `json:"simulated"`
	SinceUnixNS   int64                    `json:"since_unix_ns"`
	UntilUnixNS   int64                    `json:"until_unix_ns"`
	ElapsedNS     uint64                   `json:"elapsed_ns"`
	Packages      map[string]packageReport `json:"packages"`
	Jobs          map[string]*jobReport    `json:"jobs"`
	MachineCPUNS  uint64                   `json:"machine_cpu_ns"`
	UnassignedCPU uint64                   `json:"unassigned_cpu_ns"`
}

// packageReport: EnergyUJ is all energy of the package, never wrapped and
// without --start-uj; FloorUJ is the part that is there without any load.
// DRAMUJ is the energy of the memory, which is not part of the package's.
type packageReport struct {
	EnergyUJ uint64 `json:"energy_uj"`
	FloorUJ  uint64 `json:"floor_uj"`
	DRAMUJ   uint64 `json:"dram_uj,omitempty"`
}

// jobReport is a job's or a step's account. Steps is absent in a step, and
// Packages where the CPUs that the job used are not known.
type jobReport struct {
	Packages map[string]jobPackage `json:"packages"`
	CPUNS    uint64                `json:"cpu_ns"`
	Steps    map[string]*jobReport `json:"steps,omitempty"`
}

// jobPackage: DynamicUJ is what the job's CPU time made the package use,
// FloorUJ its cpuset's part of the floor while it existed.
type jobPackage struct {
	DynamicUJ uint64 `json:"dynamic_uj"`
	FloorUJ   uint64 `json:"floor_uj"`
}

// report returns the account in energies.
func (a *account) report(m *machine, p power) *jobReport {
	r := &jobReport{Packages: make(map[string]jobPackage), CPUNS: a.used.total}
	for i, n := range m.all() {
		if a.used.pkg[i] > 0 || a.held[i] > 0 {
			r.Packages[strconv.Itoa(i)] = jobPackage{
				DynamicUJ: p.perCore.over(a.used.pkg[i]).microjoules(1),
				FloorUJ:   p.floor.over(a.held[i]).microjoules(n),
			}
		}
	}
	if a.steps != nil {
		r.Steps = make(map[string]*jobReport, len(a.steps))
		for id, s := range a.steps {
			r.Steps[id] = s.report(m, p)
		}
	}
	return r
}

// truthFile rewrites a file in the background, so that a slow disk does not
// delay the readings. Readers always see a whole file.
type truthFile struct {
	path    string
	pending chan []byte
	done    chan error
}

// newTruthFile starts the writer. The caller must call close.
func newTruthFile(path string) *truthFile {
	f := &truthFile{path: path, pending: make(chan []byte, 1), done: make(chan error, 1)}
	go func() {
		var failed error
		for b := range f.pending {
			if err := replaceFile(path, b); err != nil {
				failed = err
			} else {
				failed = nil // the latest one counts
			}
		}
		f.done <- failed
	}()
	return f
}

// offer has the report written, unless an earlier one is still waiting.
func (f *truthFile) offer(r report) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the truth: %w", err)
	}
	select {
	case f.pending <- append(b, '\n'):
	default:
	}
	return nil
}

// close writes the last report, waits until it is on file, and returns the
// error of its writing.
func (f *truthFile) close(r report) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		f.pending <- append(b, '\n')
	}
	close(f.pending)
	if failed := <-f.done; failed != nil {
		return failed
	}
	return err
}

// replaceFile writes a file beside path and renames it to path.
func replaceFile(path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		return fmt.Errorf("write the truth: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("replace the truth: %w", err)
	}
	return nil
}
