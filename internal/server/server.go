// Package server answers HTTP as OpenAI's API does: chat completions, plain
// completions with the log-probabilities that evaluation harnesses need, and
// models, a customisation being a model of its own.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"crayon/internal/fault"
	"crayon/internal/hybrid"
	"crayon/internal/store"
	"crayon/internal/upstream"
)

// Bounds of what a client may ask for.
const (
	maxBody     = 4 << 20 // bytes of a request
	maxAnswers  = 16      // answers in the making at once; others wait
	bodyTime    = 60 * time.Second
	writeTime   = 60 * time.Second // for one piece of an answer to be taken
	graceTime   = 5 * time.Second  // for answers under way when told to stop
	headerTime  = 10 * time.Second
	idleTime    = 2 * time.Minute
	maxHeader   = 64 << 10
	defaultAddr = "127.0.0.1:8321"
)

// Options of New.
type Options struct {
	Hybrid         *hybrid.Hybrid        // answers; must be set
	Customisations *store.Customisations // read anew at each request; must be set
	ModelName      string                // name of the base model; customisations are ModelName+NAME
	Key            string                // bearer key; "" asks for none, and then only loopback is listened on
	Keys           map[string]string     // further bearer keys, by the names that budgets and the ledger know their clients by
	AllowedHosts   []string              // further names a request may call this host, without port
	AllowedOrigins []string              // web pages that may ask: scheme://host[:port]
	Ledger         *upstream.Ledger      // what /api/ledger lists; nil: nothing
	Budget         *upstream.Budget      // what it says is left; nil: nothing is limited
	Log            *slog.Logger          // one line a request, without what was said; nil logs nothing
}

// Server answers requests. Safe for concurrent use.
type Server struct {
	opt     Options
	plain   []Route // in place of the model's; see NewPlain
	command string  // that hints are about
	log     *slog.Logger
	shelf   shelf
	answers *semaphore.Weighted
	origins *http.CrossOriginProtection
	started time.Time
}

// New checks the options.
func New(o Options) (*Server, error) {
	bad := func(format string, args ...any) (*Server, error) {
		return nil, &fault.Error{Op: "serve", Err: fmt.Errorf(format, args...), Exit: fault.ExitUsage}
	}
	switch {
	case o.Hybrid == nil || o.Hybrid.Device == nil || o.Customisations == nil:
		return bad("no model or no folder of customisations")
	case o.ModelName == "" || strings.ContainsAny(o.ModelName, "+ /\\"):
		return bad("model name %q: want a name without '+', spaces and slashes", o.ModelName)
	}
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	s.shelf = shelf{store: o.Customisations, device: o.Hybrid.Device, base: o.ModelName, bound: map[string]*bound{}}
	return s, nil
}

// newServer is what servers have in common, whatever they answer.
func newServer(o Options) (*Server, error) {
	if err := o.checkKeys(); err != nil {
		return nil, &fault.Error{Op: "serve", Err: err, Exit: fault.ExitUsage}
	}
	s := &Server{opt: o, command: "crayon serve", log: o.Log, answers: semaphore.NewWeighted(maxAnswers), origins: http.NewCrossOriginProtection(), started: time.Now()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, origin := range o.AllowedOrigins {
		if err := s.origins.AddTrustedOrigin(origin); err != nil {
			return nil, &fault.Error{Op: "serve", Path: origin, Err: errors.New("not an origin"), Hint: "write it as http://localhost:3000", Exit: fault.ExitUsage}
		}
	}
	return s, nil
}

// Handler answers requests made to a loopback name or an allowed host.
func (s *Server) Handler() http.Handler { return s.handler(s.hosts(address{host: "127.0.0.1"})) }

func (s *Server) handler(hosts func(string) bool) http.Handler {
	mux := http.NewServeMux()
	route := func(method, path string, h handler) {
		mux.Handle(method+" "+path, s.reply(h))
		mux.Handle(path, s.reply(func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Allow", method)
			return &HTTPError{Status: http.StatusMethodNotAllowed, Message: fmt.Sprintf("%s takes %s, not %s", path, method, clip(r.Method))}
		}))
	}
	if s.plain != nil {
		paths := make([]string, len(s.plain))
		for i, r := range s.plain {
			route(r.Method, r.Path, r.Answer)
			paths[i] = r.Path
		}
		mux.Handle("/", s.reply(func(w http.ResponseWriter, r *http.Request) error {
			return &HTTPError{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no %s; try %s", clip(r.URL.Path), strings.Join(paths, ", "))}
		}))
		return s.observe(s.guard(hosts, mux))
	}
	route("POST", "/v1/chat/completions", s.chatCompletions)
	route("POST", "/v1/completions", s.completions)
	route("GET", "/v1/models", s.models)
	route("GET", "/v1/models/{id}", s.model)
	route("POST", "/api/route/decide", s.decide)
	route("GET", "/metrics", s.metrics)
	route("GET", "/healthz", s.health)
	route("GET", ledgerPath, s.ledger)
	mux.Handle("/", s.reply(func(w http.ResponseWriter, r *http.Request) error {
		return &HTTPError{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no %s; try /v1/chat/completions, /v1/completions, /v1/models, /api/route/decide, /metrics or /healthz", clip(r.URL.Path))}
	}))
	return s.observe(s.guard(hosts, mux))
}

// address is where to listen, in parts.
type address struct {
	host string // an IP address, or "" for every one
	port string
	wide bool // reachable from other machines
}

// parseAddress reads host:port without looking any name up: a look-up would
// leave this machine.
func parseAddress(addr string) (address, error) {
	bad := func(err error) (address, error) {
		return address{}, &fault.Error{Op: "listen", Path: addr, Err: err, Hint: "crayon serve --addr " + defaultAddr, Exit: fault.ExitUsage}
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return bad(errors.New("not an address of the form host:port"))
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return bad(fmt.Errorf("no port %q", port))
	}
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	}
	if host == "" {
		return address{port: port, wide: true}, nil
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return bad(errors.New("the host is neither an IP address nor localhost"))
	}
	return address{host: host, port: port, wide: !ip.IsLoopback()}, nil
}

// ListenAndServe answers at addr (host:port, port 0 for a free one) until ctx
// is done; answers under way then have a few seconds to end. ready hears the
// address once connections are taken; it may be nil.
func (s *Server) ListenAndServe(ctx context.Context, addr string, ready func(addr string)) error {
	a, err := parseAddress(addr)
	if err != nil {
		return s.hinted(err)
	}
	if a.wide && !s.opt.keyed() {
		return &fault.Error{Op: "listen", Path: addr, Err: errors.New("other machines could ask, and no key is set"),
			Hint: "export CRAYON_SERVE_KEY=..., or `" + s.command + " --addr " + net.JoinHostPort("127.0.0.1", a.port) + "`", Exit: fault.ExitUsage}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(a.host, a.port))
	if err != nil {
		return s.hinted(listenFault(addr, err))
	}
	// Requests outlive ctx by the grace time, then they are cut.
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := &http.Server{
		Handler:           s.handler(s.hosts(a)),
		ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	if ready != nil {
		ready(ln.Addr().String())
	}
	select {
	case err := <-ended:
		return &fault.Error{Op: "serve", Path: addr, Err: err}
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(base, graceTime)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		cut()
		srv.Close()
	}
	<-ended
	// Nobody may close the model while an answer still uses it.
	if err := s.answers.Acquire(context.WithoutCancel(ctx), maxAnswers); err != nil {
		return err
	}
	s.answers.Release(maxAnswers)
	return nil
}

func listenFault(addr string, err error) error {
	f := &fault.Error{Op: "listen", Path: addr, Err: err, Hint: "crayon serve --addr 127.0.0.1:0"}
	switch {
	case errors.Is(err, syscall.EADDRINUSE), strings.Contains(err.Error(), "Only one usage of each socket address"):
		f.Err = errors.New("another program listens there")
	case errors.Is(err, syscall.EACCES):
		f.Err = errors.New("not allowed; ports below 1024 need more rights")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f.Err = errors.New("this machine does not have that address")
	}
	return f
}

// hosts says which names requests may call this server by. A name that a
// stranger's web page made point here (DNS rebinding) is none of them; an IP
// address can't be made to, so where other machines may ask, any will do.
func (s *Server) hosts(a address) func(string) bool {
	return func(hostport string) bool {
		u, err := url.Parse("http://" + hostport)
		if err != nil || u.Host != hostport {
			return false
		}
		name := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
		for _, allowed := range append([]string{"localhost", a.host}, s.opt.AllowedHosts...) {
			if name != "" && strings.EqualFold(name, strings.Trim(allowed, "[]")) {
				return true
			}
		}
		ip := net.ParseIP(name)
		return ip != nil && (a.wide || ip.IsLoopback())
	}
}
