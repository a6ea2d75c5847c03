//go:build !linux

package enginetest

import (
	"os"
	"os/exec"
	"time"
)

func ownGroup(*exec.Cmd) {}

// killGroup ends the server. It is asked first where it can be, so that it ends
// its runners: there is no process group here that would.
func killGroup(cmd *exec.Cmd) {
	if cmd.Process.Signal(os.Interrupt) == nil {
		time.Sleep(time.Second)
	}
	_ = cmd.Process.Kill()
}
