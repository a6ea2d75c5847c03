package bench

import "context"

// PeerAt is a Peer that serves already and never stops.
func PeerAt(t Target, dir string) Peer {
	return running{&Alcove{target: t, dir: dir, version: "test"}}
}

type running struct{ *Alcove }

func (running) Start(context.Context) error { return nil }
func (running) Stop() error                 { return nil }
func (running) PID() int                    { return 0 }
