package cgroups

import (
	"os/user"
	"sync"
	"testing"
	"time"
)

// A directory server that does not answer holds up neither a reading nor the end.
func TestHangingLookup(t *testing.T) {
	m := newMachine(t, "cpuacct")
	tr := m.tracker(testMatcher{})
	m.mkdir("/slurm_n1", "cpuacct")
	asked, answer := make(chan struct{}), make(chan struct{})
	defer close(answer)
	var once sync.Once
	tr.lookup = func(string) (*user.User, error) {
		once.Do(func() { close(asked) })
		<-answer
		return nil, user.UnknownUserIdError(1000)
	}
	m.refresh(tr)
	m.mkdir("/slurm_n1/uid_1000/job_1/step_0", "cpuacct")
	m.until(tr, "job begins", func() bool { return m.books.get("1", "0").open })
	select {
	case <-asked:
	case <-time.After(10 * time.Second):
		t.Fatal("the name was not asked for")
	}
	m.rmdir("/slurm_n1/uid_1000", "cpuacct")
	m.until(tr, "job ends", func() bool { return !m.books.get("1", "").open })
	begin := time.Now()
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > lookupWait+time.Second {
		t.Errorf("closing took %v", d)
	}
}
