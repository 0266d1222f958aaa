package crayon

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"

	"crayon/internal/server"
	"crayon/internal/upstream"
)

// ServeOptions of Serve.
type ServeOptions struct {
	Addr    string            // host:port; port 0 for a free one
	Key     string            // that clients must send; "" asks for none, and then only loopback is listened on
	Keys    map[string]string // further keys, by the names that budgets and the ledger know their clients by
	Hosts   []string          // further names clients may call this host
	Origins []string          // web pages that may ask: scheme://host[:port]
	Log     *slog.Logger      // one line a request, without what was said; nil logs nothing
	Ready   func(addr string) // hears the address once connections are taken; may be nil
}

// Serve answers HTTP as OpenAI's API does, until ctx ends. The base model is
// known by its name in the pool (by its file's, without one), a customisation as
// that name and "+NAME"; under Options.Adapter there is only that adapter.
func (c *Crayon) Serve(ctx context.Context, o ServeOptions) error {
	c.hybrid.Log = o.Log
	s, err := server.New(server.Options{Hybrid: c.hybrid, Customisations: c.shelf, ModelName: c.served(),
		Ledger: upstream.LedgerAt(c.paths.Ledger()), Budget: c.budget,
		Key: o.Key, Keys: o.Keys, AllowedHosts: o.Hosts, AllowedOrigins: o.Origins, Log: o.Log})
	if err != nil {
		return err
	}
	if _, err := c.device.Side(ctx); err != nil { // packed before the first request
		return err
	}
	return s.ListenAndServe(ctx, o.Addr, o.Ready)
}

// served is the name of what answers without a customisation.
func (c *Crayon) served() string {
	name := c.device.Adapter
	if name == "" {
		name = c.device.Pool.Base.Name
	}
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(c.device.Path()), filepath.Ext(c.device.Path()))
	}
	// A + would begin the name of a customisation.
	return strings.NewReplacer("+", "-", " ", "-", "/", "-", "\\", "-").Replace(name)
}
