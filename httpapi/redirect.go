package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// hstsValue tells browsers to come over TLS for a year.
const hstsValue = "max-age=31536000"

// ServeRedirect answers plain HTTP on ln until ctx ends by sending callers to the
// same address over TLS at port. It serves nothing else: a request that carries a
// credential is refused with 403, because it has just crossed the network in the
// clear and its owner must hear of it, and so is a host name that is not this
// server's. It closes ln.
func (s *Server) ServeRedirect(ctx context.Context, ln net.Listener, port string) error {
	srv := &http.Server{
		Handler:           s.redirect(port),
		ReadHeaderTimeout: s.o.HeaderTimeout,
		ReadTimeout:       s.o.HeaderTimeout,
		WriteTimeout:      s.o.WriteTimeout,
		IdleTimeout:       s.o.HeaderTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(netutil.LimitListener(ln, s.o.MaxConns)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("redirect on %s: %w", ln.Addr(), err)
	}
	return nil
}

func (s *Server) redirect(port string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		x := &exchange{id: requestID(r), route: "redirect"}
		w := &response{ResponseWriter: rw, rc: http.NewResponseController(rw), timeout: s.o.WriteTimeout}
		w.Header().Set("X-Request-ID", x.id)
		w.Header().Set("Connection", "close")
		start := time.Now()
		defer func() { s.log(w, r, x, time.Since(start)) }()
		switch {
		case r.Header.Get("Authorization") != "" || r.Header.Get("X-API-Key") != "":
			s.fail(w, x, errInTheClear)
			return
		case s.checkHost(r) != nil:
			s.fail(w, x, errHost)
			return
		case checkPath(r.URL) != nil:
			s.fail(w, x, errPath)
			return
		}
		host := hostOnly(r.Host)
		if port != "443" {
			host = net.JoinHostPort(host, port)
		}
		// 308, not 301: a POST stays a POST.
		w.Header().Set("Location", "https://"+host+r.URL.RequestURI())
		w.WriteHeader(http.StatusPermanentRedirect)
		_, _ = io.WriteString(w, "This server speaks TLS: https://"+host+"\n")
	}
}
