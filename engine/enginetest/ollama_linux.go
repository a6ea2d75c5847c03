package enginetest

import (
	"os/exec"
	"syscall"
)

// ownGroup makes a server the head of a process group, since its runners outlive
// one that is killed alone. If the test process itself dies (a time-out), the
// kernel asks the server to end, which then ends its runners.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// killGroup ends the server and its runners.
func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
