package exec

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
	"golang.org/x/sys/unix"
)

// groupPrefix begins the names of programs' groups; the process id of the agent that made the group follows, and a number
// where that name was taken.
const groupPrefix = "alumet_exec_"

// removeLeft removes the groups in dir that agents have left that were killed. The kernel keeps one that still holds
// processes; whether any is removed does not matter to the caller.
func removeLeft(proc, dir string) {
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		rest, ok := strings.CutPrefix(e.Name(), groupPrefix)
		if !ok || !e.IsDir() {
			continue
		}
		text, _, _ := strings.Cut(rest, "_")
		if pid, err := strconv.Atoi(text); err == nil && pid > 0 && !agentLives(proc, pid) {
			_ = unix.Rmdir(filepath.Join(dir, e.Name()))
		}
	}
}

// agentLives tells whether a process may be an agent. Its group is empty for a moment before its program is started and
// after that has ended, and must not be removed then. The number may have been given to another program meanwhile: that
// has another name than this one. In doubt it is an agent.
func agentLives(proc string, pid int) bool {
	if pid == os.Getpid() {
		return true // makeGroup looks for a free name itself
	}
	name, err := sysfile.ReadText(filepath.Join(proc, strconv.Itoa(pid), "comm"))
	if err != nil {
		// procfs may hide others' processes.
		return !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
	}
	own, err := sysfile.ReadText(filepath.Join(proc, "self/comm"))
	return err != nil || name == own
}
