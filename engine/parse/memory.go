package parse

import (
	"bytes"
	"os"
	"runtime/metrics"
	"strconv"
	"time"
)

// watchMemory ends this process when it takes more memory than it may.
func watchMemory(limit int64) {
	for range time.Tick(20 * time.Millisecond) {
		if usedMemory() > limit {
			os.Stderr.WriteString("out of memory: over the limit of a reader\n")
			os.Exit(exitMemory)
		}
	}
}

// usedMemory is how many bytes of memory this process takes: what the system says
// (Linux), else what the Go runtime knows of.
func usedMemory() int64 {
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(b); len(fields) > 2 {
			resident, err1 := strconv.ParseInt(string(fields[1]), 10, 64)
			shared, err2 := strconv.ParseInt(string(fields[2]), 10, 64) // of files: the program itself
			if err1 == nil && err2 == nil {
				return (resident - shared) * int64(os.Getpagesize())
			}
		}
	}
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64()) - int64(s[1].Value.Uint64())
}
