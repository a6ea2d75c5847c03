//go:build unix

package parse

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// confine holds this process to limits that no bug of a reader gets around. What the
// system does not know of them it does not enforce; watchMemory is there too.
func confine(l Limits) {
	set := func(what int, n uint64) {
		_ = unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n})
	}
	set(unix.RLIMIT_CORE, 0)
	set(unix.RLIMIT_DATA, uint64(l.Memory)+arenaSpare)
	set(unix.RLIMIT_CPU, uint64(2*(l.Time+warmTime).Seconds()))
	set(unix.RLIMIT_FSIZE, uint64(2*l.UnpackedBytes))
}

// arenaSpare is what the Go runtime maps and does not use.
const arenaSpare = 256 << 20

// detach keeps a child out of the reach of the keys that end the server, which ends
// its children itself.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
