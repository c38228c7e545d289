package slurm

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	testbed "github.com/alumet-hpc/alumet-hpc/contrib/testbed/slurm"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

func run(t *testing.T, c *testbed.Cluster, args ...string) string {
	t.Helper()
	out, err := c.Run(context.Background(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// Arrays, heterogeneous jobs, cancelled and requeued ones: each has its own account, and none is missing.
func TestRealJobKinds(t *testing.T) {
	c := testbed.Start(t, testbed.Options{Nodes: 2, Extern: true})
	l := watch(t, strings.TrimSuffix(c.Nodes[0], "1")) // the agent sees both nodes
	const work = "#!/bin/sh\ni=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; sleep 0.3\n"

	array := c.Submit(work, "--array=0-2", "-n1", "-J", "several")
	c.Wait(array)
	run(t, c, "srun", "-Q", "-n1", "-J", "lead", "sh", "-c", loop(20000)+"; sleep 0.3", ":", "-n1", "-J", "follow", "sh", "-c", loop(20000)+"; sleep 0.3")
	cancelled := c.Submit("#!/bin/sh\nsleep 60\n", "-n1")
	until(t, "job to be cancelled runs", func() bool { return l.account(cancelled + ".batch").open })
	run(t, c, "scancel", cancelled)
	c.Wait(cancelled)
	again := c.Submit("#!/bin/sh\ni=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; sleep 1\n", "-n1", "--requeue")
	until(t, "job to be requeued runs", func() bool { return l.account(again+".batch").total() > 0 })
	run(t, c, "scontrol", "requeue", again)
	until(t, "its first life ends", func() bool { return !l.account(again).open })
	until(t, "it runs again", func() bool { // it is held back for two minutes unless told otherwise, once it is pending
		_, _ = c.Run(context.Background(), "scontrol", "update", "jobid="+again, "starttime=now")
		time.Sleep(100 * time.Millisecond)
		return l.account(again).lives == 2
	})
	c.Wait(again)

	want := uint64(0)
	for _, node := range c.Nodes {
		want += settled(t, l, "/sys/fs/cgroup/cpuacct/slurm_"+node+"/cpuacct.usage")
	}
	ofJobs, ofSteps, _ := l.sums()
	if ofJobs != want || ofSteps > want || want-ofSteps > want/100 {
		t.Errorf("jobs used %d, steps %d, the parent counts %d", ofJobs, ofSteps, want)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	tasks, components := map[string]bool{}, map[string]bool{}
	for name, a := range l.accounts {
		t.Logf("%s: %d ns by %s, %+v", name, a.total(), a.final, a.facts)
		if f := a.facts; f.ArrayJob == array {
			tasks[f.ArrayTask] = true
		} else if f.HetJob != "" {
			components[f.HetOffset] = true
		}
	}
	if len(tasks) != 3 {
		t.Errorf("tasks of the array: %v", tasks)
	}
	if len(components) != 2 {
		t.Errorf("components of the heterogeneous job: %v", components)
	}
	if a := l.named(again); a.lives != 2 {
		t.Errorf("requeued job: %+v", a)
	}
	if a := l.named(cancelled); a.lives != 1 || a.total() == 0 {
		t.Errorf("cancelled job: %+v", a)
	}
}

// Without jobacct_gather/cgroup and task/cgroup only the freezer holds the jobs.
func TestRealFreezerOnly(t *testing.T) {
	c := testbed.Start(t, testbed.Options{Conf: []string{"JobAcctGatherType=jobacct_gather/linux", "TaskPlugin=task/none"}})
	l := watch(t, c.Nodes[0])
	job := run(t, c, "srun", "-Q", "-n1", "sh", "-c", "echo $SLURM_JOB_ID; "+loop(1500000))
	until(t, "job ends", func() bool { return l.account(job).lives == 1 && !l.account(job).open })
	a := l.account(job + ".0")
	t.Logf("%d ns by %s", a.total(), a.final)
	if a.total() < 200e6 || a.final != jobs.FinalLastRead {
		t.Errorf("step: %+v", a)
	}
}

// 100 steps of `true` and 100 of some ten milliseconds, in one allocation: all are seen, and their CPU time is complete.
func TestRealManySteps(t *testing.T) {
	c := testbed.Start(t, testbed.Options{})
	l := watch(t, c.Nodes[0])
	const n = 100
	script := fmt.Sprintf("#!/bin/sh\nfor i in $(seq %d); do srun true; srun sh -c '%s'; done\n", n/2, loop(5000))
	start := time.Now()
	job := c.Submit(script, "-n1")
	if state := c.Wait(job); state != "COMPLETED" {
		t.Fatal(state)
	}
	t.Logf("%d steps in %v", n, time.Since(start))
	want := settled(t, l, "/sys/fs/cgroup/cpuacct/slurm_"+c.Nodes[0]+"/cpuacct.usage")
	ofJobs, ofSteps, _ := l.sums()
	if ofJobs != want || ofSteps > want || want-ofSteps > want/100 {
		t.Errorf("jobs used %d, steps %d, the parent counts %d", ofJobs, ofSteps, want)
	}
	for i := range n {
		if a := l.account(fmt.Sprintf("%s.%d", job, i)); a.lives != 1 || a.total() == 0 {
			t.Errorf("step %d: %+v", i, a)
		}
	}
}
