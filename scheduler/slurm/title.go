package slurm

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
	"golang.org/x/sys/unix"
)

// resolveSLUID finds the number of a job whose directory is named by its SLUID. The title of the slurmstepd in
// `step_*/slurm` has it. A user can run a process there with any title, so only one whose user ids are all root's counts,
// and only when the whole title has the form.
func resolveSLUID(proc, dir string, m cgroups.Match) (cgroups.Match, bool) {
	steps, err := os.ReadDir(dir)
	if err != nil {
		return m, false
	}
	for _, s := range steps {
		step, ok := strings.CutPrefix(s.Name(), "step_")
		if !ok || !s.IsDir() {
			continue
		}
		procs, err := os.ReadFile(filepath.Join(dir, s.Name(), "slurm/cgroup.procs"))
		if err != nil {
			continue
		}
		for pid := range strings.Lines(string(procs)) {
			if job, of, ok := stepd(filepath.Join(proc, strings.TrimSpace(pid))); ok && of == step {
				m.ID = jobs.ID{Scheduler: Scheduler, Name: job}
				return m, true
			}
		}
	}
	return m, false
}

// stepd reads the job and step of a slurmstepd from its title.
func stepd(dir string) (job, step string, ok bool) {
	title, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return "", "", false
	}
	if job, step, ok = parseTitle(title); !ok {
		return "", "", false
	}
	// The directory belongs to the effective user only; a set-uid program could have other ones.
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil || !allRoot(status) {
		return "", "", false
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil || st.Uid != 0 {
		return "", "", false
	}
	return job, step, true
}

// parseTitle parses `slurmstepd: [10707.batch]` and NULs.
func parseTitle(title []byte) (job, step string, ok bool) {
	s, ok := strings.CutPrefix(string(bytes.TrimRight(title, "\x00")), "slurmstepd: [")
	if !ok {
		return "", "", false
	}
	s, ok = strings.CutSuffix(s, "]")
	s = strings.TrimSuffix(s, " stepmgr")
	job, step, found := strings.Cut(s, ".")
	if !ok || !found || !isJobNumber(job) {
		return "", "", false
	}
	switch step {
	case "extern", "batch", "interactive":
		return job, step, true
	}
	_, ok = number(step, 1<<32-1)
	return job, step, ok
}

// allRoot tells whether the real, effective, saved and file system user of a process are root.
func allRoot(status []byte) bool {
	_, rest, ok := bytes.Cut(status, []byte("\nUid:"))
	if !ok {
		return false
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	ids := bytes.Fields(line)
	for _, id := range ids {
		if string(id) != "0" {
			return false
		}
	}
	return len(ids) == 4
}
