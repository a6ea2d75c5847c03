package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
)

// listenMetrics opens the address of /metrics; nil if there is to be none. A second
// server on a machine must not fail for an address that nobody chose: it goes without.
func (cfg serverConfig) listenMetrics() (net.Listener, error) {
	if cfg.metrics == "" {
		return nil, nil
	}
	ln, err := net.Listen("tcp", cfg.metrics)
	switch {
	case err == nil:
		return ln, nil
	case cfg.metricsAsked:
		return nil, fmt.Errorf("listen on %s for metrics: %w (METRICS_LISTEN chooses another address)", cfg.metrics, err)
	}
	cfg.log.Warn("no metrics: their address is taken; METRICS_LISTEN chooses another", "address", cfg.metrics, "err", err)
	return nil, nil
}

// serveMetrics serves /metrics on ln, if there is one, until ctx ends or what it
// returns is called, which waits for the end.
func (s *running) serveMetrics(ctx context.Context, log *slog.Logger, ln net.Listener) (stop func()) {
	if ln == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.http.ServeMetrics(ctx, ln); err != nil {
			log.Error("metrics are no longer served", "err", err)
		}
	}()
	log.Info("metrics", "address", ln.Addr().String())
	return func() {
		cancel()
		<-done
	}
}
