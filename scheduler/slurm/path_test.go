package slurm

import (
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/agent/agenttest"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
)

func TestMatchPath(t *testing.T) {
	job := func(n string) jobs.ID { return jobs.ID{Scheduler: "slurm", Name: n} }
	const v1, v2 = cgroups.V1, cgroups.V2
	for _, c := range []struct {
		path string
		v    cgroups.Version
		want cgroups.Match
	}{
		{"/", v1, cgroups.Match{Role: cgroups.Above, UID: -1}},
		{"/", v2, cgroups.Match{Role: cgroups.Above, UID: -1}},
		{"/slurm", v1, cgroups.Match{Role: cgroups.Parent, UID: -1}},
		{"/slurm_n1", v1, cgroups.Match{Role: cgroups.Parent, UID: -1}},
		{"/slurm_", v1, cgroups.Match{UID: -1}},
		{"/slurmd", v1, cgroups.Match{UID: -1}},
		{"/slurm_n1/system", v1, cgroups.Match{Role: cgroups.Other, UID: -1, Leaf: true}},
		{"/slurm_n1/uid_0", v1, cgroups.Match{Role: cgroups.Inner}},
		{"/slurm/uid_1000/job_10707", v1, cgroups.Match{Role: cgroups.Job, ID: job("10707"), UID: 1000}},
		{"/slurm/uid_1000/job_10707/step_2", v1, cgroups.Match{Role: cgroups.Step, ID: job("10707"), Step: "2", UID: 1000}},
		{"/slurm/uid_1000/job_10707/step_batch", v1, cgroups.Match{Role: cgroups.Step, ID: job("10707"), Step: "batch", UID: 1000}},
		{"/slurm_n1/uid_0/job_1/step_0/task_3", v1, cgroups.Match{Role: cgroups.Part, ID: job("1"), Step: "0", Task: "3", Leaf: true}},
		{"/slurm_n1/uid_0/job_01", v1, cgroups.Match{UID: -1}},
		{"/slurm_n1/uid_x/job_1", v1, cgroups.Match{UID: -1}},
		{"/slurm_n1/uid_0/job_1/agent_hold", v1, cgroups.Match{UID: -1}},
		{"/slurm_n1/uid_0/job_99999999999", v1, cgroups.Match{UID: -1}},
		{"/system.slice", v2, cgroups.Match{Role: cgroups.Above, UID: -1}},
		{"/hpc.slice/hpc-slurm.slice", v2, cgroups.Match{Role: cgroups.Above, UID: -1}},
		{"/user.slice", v2, cgroups.Match{UID: -1}},
		{"/system.slice/ssh.service", v2, cgroups.Match{UID: -1}},
		{"/system.slice/slurmstepd.scope", v2, cgroups.Match{Role: cgroups.Parent, UID: -1}},
		{"/system.slice/n1_slurmstepd.scope", v2, cgroups.Match{Role: cgroups.Parent, UID: -1}},
		{"/slurmstepd.scope", v2, cgroups.Match{Role: cgroups.Parent, UID: -1}},
		{"/system.slice/xslurmstepd.scope", v2, cgroups.Match{UID: -1}},
		{"/system.slice/n1_slurmstepd.scope/system", v2, cgroups.Match{Role: cgroups.Other, UID: -1, Leaf: true}},
		{"/system.slice/n1_slurmstepd.scope/job_1", v2, cgroups.Match{Role: cgroups.Job, ID: job("1"), UID: -1}},
		{"/hpc.slice/m1_slurmstepd.scope/s2HNM7X03V8G00", v2, cgroups.Match{Role: cgroups.Job, ID: job("s2HNM7X03V8G00"), UID: -1, Unresolved: true}},
		{"/hpc.slice/m1_slurmstepd.scope/s2HNM7X03V8G0U", v2, cgroups.Match{Role: cgroups.Other, UID: -1, Leaf: true}},
		{"/system.slice/slurmstepd.scope/job_1/step_extern", v2, cgroups.Match{Role: cgroups.Step, ID: job("1"), Step: "extern", UID: -1}},
		{"/system.slice/slurmstepd.scope/job_1/step_0/user", v2, cgroups.Match{Role: cgroups.Part, ID: job("1"), Step: "0", Sub: "user", UID: -1}},
		{"/system.slice/slurmstepd.scope/job_1/step_0/user/task_special", v2, cgroups.Match{Role: cgroups.Part, ID: job("1"), Step: "0", Sub: "user", Task: "special", Leaf: true, UID: -1}},
		{"/system.slice/slurmstepd.scope/job_1/step_0/mine", v2, cgroups.Match{UID: -1}},
		{"/system.slice/slurmstepd.scope/job_1/step_0/user/task_0/x", v2, cgroups.Match{UID: -1}},
		{"", v2, cgroups.Match{UID: -1}},
		{"//", v1, cgroups.Match{UID: -1}},
	} {
		if got := matchPath(c.path, c.v); got != c.want {
			t.Errorf("%s %s:\n got %+v\nwant %+v", c.v, c.path, got, c.want)
		}
	}
}

func TestMatchAllocates(t *testing.T) {
	m := matcher{depth: 3}
	agenttest.CheckAllocs(t, "Match", func() {
		m.Match("/slurm_n1/uid_0/job_1/step_0/task_3", cgroups.V1)
		m.Match("/hpc.slice/m1_slurmstepd.scope/s2HNM7X03V8G00/step_0/user/task_0", cgroups.V2)
	})
}

func FuzzMatchPath(f *testing.F) {
	for _, p := range []string{"/slurm_n1/uid_0/job_1/step_0/task_3", "/system.slice/n1_slurmstepd.scope/s2HNM7X03V8G00/step_batch/user/task_0", "/", "//"} {
		f.Add(p, true)
		f.Add(p, false)
	}
	f.Fuzz(func(t *testing.T, path string, first bool) {
		v := cgroups.V2
		if first {
			v = cgroups.V1
		}
		m := matchPath(path, v)
		if m.Role >= cgroups.Job && (m.ID.Scheduler != Scheduler || m.ID.Name == "" || !strings.Contains(path, m.ID.Name)) {
			t.Errorf("%q: %+v", path, m)
		}
		if (m.Role >= cgroups.Step) != (m.Step != "") {
			t.Errorf("%q: %+v", path, m)
		}
	})
}

func TestParseTitle(t *testing.T) {
	for in, want := range map[string]string{
		"slurmstepd: [1.extern]\x00\x00": "1.extern", "slurmstepd: [1.0]": "1.0", "slurmstepd: [1.extern stepmgr]\x00": "1.extern",
		"slurmstepd: [999.0] infinity": "", "slurmstepd: [1.x]": "", "slurmstepd: [x.0]": "", "[1:namespace]": "", "": "",
		"slurmstepd: [1.0]\x00x": "", "xslurmstepd: [1.0]": "", "slurmstepd: [01.0]": "",
	} {
		job, step, ok := parseTitle([]byte(in))
		got := ""
		if ok {
			got = job + "." + step
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if allRoot([]byte("Name:\tx\nUid:\t0\t0\t0\t1000\nGid:\t0")) || !allRoot([]byte("Name:\tx\nUid:\t0\t0\t0\t0\nGid:\t0")) {
		t.Error("allRoot")
	}
}

func FuzzParseTitle(f *testing.F) {
	f.Add([]byte("slurmstepd: [1.extern stepmgr]\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if job, step, ok := parseTitle(b); ok && (!isJobNumber(job) || step == "") {
			t.Errorf("%q: %q %q", b, job, step)
		}
		allRoot(b)
	})
}
