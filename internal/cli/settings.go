package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"crayon"
	"crayon/internal/config"
	"crayon/internal/kernel"
	"crayon/internal/route"
)

// settingFlags gives a command flags for settings, by their keys. A flag that
// is given goes before CRAYON_* variables, crayon.yaml and the default.
func settingFlags(f *pflag.FlagSet, keys ...string) {
	known := map[string]config.Key{}
	for _, k := range config.Keys() {
		known[k.Name] = k
	}
	for _, name := range keys {
		k := known[name]
		help := k.Help + " (" + k.Env() + ")"
		if k.Default == "true" || k.Default == "false" {
			f.Bool(k.Flag(), false, help)
			continue
		}
		f.String(k.Flag(), "", help)
	}
}

// settings reads the effective settings, once.
func (a *app) settings() (*config.Settings, error) {
	if a.set != nil {
		return a.set, nil
	}
	given := map[string]string{}
	a.cmd.Flags().Visit(func(f *pflag.Flag) {
		for _, k := range config.Keys() {
			if k.Flag() == f.Name {
				given[f.Name] = f.Value.String()
			}
		}
	})
	s, err := config.Load(config.Options{Flags: given, File: a.configFile})
	if err != nil {
		return nil, err
	}
	if s.Kernel != "auto" {
		level, err := kernel.ParseLevel(s.Kernel)
		if err == nil {
			err = kernel.Use(level)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, w := range s.Warnings {
		a.warn(w)
	}
	a.set = s
	return s, nil
}

// library is the user's customisations.
func (a *app) library() (*crayon.Library, error) {
	s, err := a.settings()
	if err != nil {
		return nil, err
	}
	return crayon.OpenLibrary(s.Home)
}

// modelPath is the file of the model that is set.
func (a *app) modelPath() (string, error) {
	lib, err := a.library()
	if err != nil {
		return "", err
	}
	return lib.ModelPath(a.set.Model)
}

// pool is the pool that is set.
func (a *app) pool() (*crayon.Pool, error) {
	s, err := a.settings()
	if err != nil {
		return nil, err
	}
	return crayon.OpenPool(s.Pool)
}

// open opens the model that is set, with its pool and server.
func (a *app) open(ctx context.Context) (*crayon.Crayon, error) {
	s, err := a.settings()
	if err != nil {
		return nil, err
	}
	if f := a.cmd.Flags().Lookup("adapter"); f != nil && f.Changed && a.adapter == "" {
		return nil, usage(errors.New("--adapter names no file or folder"), "--adapter PATH")
	}
	policy := policyOf(s.Route)
	policy.OverBudget, policy.Private = s.Route.OverBudget, s.Privacy.Customisations
	c, err := crayon.Open(ctx, crayon.Options{
		Home: s.Home, Model: s.Model, Pool: s.Pool, Adapter: a.adapter, Threads: s.Threads, PrefixCache: prefixOf(s.PrefixCache), LocalOnly: s.LocalOnly, Policy: &policy,
		Servers: serversOf(s.Server), Budget: budgetOf(s.Budget), Bodies: s.Ledger.Bodies, Privacy: privacyOf(s.Privacy), PoolKey: s.PoolServer.Key,
	})
	if err == nil {
		a.warn(c.Warning())
	}
	return c, err
}

// prefixOf is the setting as an option, which takes 0 for what is not set.
func prefixOf(megabytes int) int {
	if megabytes == 0 {
		return -1
	}
	return megabytes
}

// base is the name that means the bare model.
const base = "base"

// openWith is open with a customisation; "" and "base" are the bare model. The
// name is looked up first: a wrong one should not wait for the model.
func (a *app) openWith(ctx context.Context, name string) (*crayon.Crayon, *crayon.Customisation, error) {
	var custom *crayon.Customisation
	if name != "" && name != base {
		lib, err := a.library()
		if err != nil {
			return nil, nil, err
		}
		if custom, err = lib.Load(name); err != nil {
			return nil, nil, err
		}
	}
	c, err := a.open(ctx)
	if err != nil || custom == nil {
		return c, nil, err
	}
	if err := c.Fits(ctx, custom); err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, custom, nil
}

// serversOf are the servers of the settings, the first choice first.
func serversOf(s config.Server) []crayon.Server {
	servers := make([]crayon.Server, len(s.URLs))
	for i, url := range s.URLs {
		servers[i] = crayon.Server{URL: url, Key: s.Keys[i], Model: s.Models[i], Timeout: s.Timeout, Price: priceOf(s.PricesIn[i], s.PricesOut[i])}
		if n := s.Contexts[i]; !math.IsNaN(n) {
			servers[i].Context = int(n)
		}
	}
	return servers
}

// priceOf is nil where neither price is set; one that is not counts as 0 then.
func priceOf(in, out float64) *crayon.Price {
	if math.IsNaN(in) && math.IsNaN(out) {
		return nil
	}
	set := func(x float64) float64 {
		if math.IsNaN(x) {
			return 0
		}
		return x
	}
	return &crayon.Price{In: set(in), Out: set(out)}
}

// keysOf are the clients' keys by their names.
func keysOf(keys []config.ClientKey) map[string]string {
	out := map[string]string{}
	for _, k := range keys {
		out[k.Name] = k.Key
	}
	return out
}

// budgetOf is the budget of the settings.
func budgetOf(b config.Budget) crayon.Budget {
	limits := func(l config.Limits) crayon.Limits {
		out := crayon.Limits{Calls: l.Calls, Tokens: l.Tokens, Share: l.Share}
		if l.Money != nil {
			m := crayon.MoneyOf(*l.Money)
			out.Money = &m
		}
		return out
	}
	out := crayon.Budget{All: limits(b.Limits), EachKey: limits(b.Key), Keys: map[string]crayon.Limits{}}
	for _, k := range b.Keys {
		out.Keys[k.Name] = limits(k.Limits)
	}
	if b.Zone == "local" {
		out.Zone = time.Local
	}
	return out
}

// privacyOf is what must not leave by the settings.
func privacyOf(p config.Privacy) crayon.Privacy {
	return crayon.Privacy{Kinds: append([]string{}, p.Detect...), Words: slices.DeleteFunc(slices.Clone(p.Words), func(w string) bool { return w == "" }), Patterns: p.Patterns, Allow: p.Allow, Redact: p.Redact()}
}

// policyOf is the routing policy of the settings: a threshold not set is auto.
func policyOf(r config.Route) crayon.Policy {
	p := crayon.DefaultPolicy()
	p.Mode = route.Mode(r.Mode)
	for _, k := range r.KeyModes {
		if p.KeyModes == nil {
			p.KeyModes = map[string]route.Mode{}
		}
		p.KeyModes[k.Name] = route.Mode(k.Mode)
	}
	p.Shadow, p.Samples, p.Log, p.Harvest = r.Shadow, r.Samples, r.Log, r.Harvest
	for _, t := range []struct {
		to   *float32
		from *float64
	}{{&p.ScopeUser, r.Scope}, {&p.ScopePool, r.PoolScope}, {&p.Confidence, r.Confidence}} {
		if t.from != nil && !math.IsNaN(*t.from) {
			*t.to = float32(*t.from)
		}
	}
	return p
}

func parseSide(s string) (crayon.Side, error) {
	side, err := route.ParseForce(s)
	if err != nil {
		return "", usage(fmt.Errorf("--route %q: want device, server or auto", s), "--route device")
	}
	return side, nil
}

// completeNames completes the names of customisations.
func (a *app) completeNames(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	a.cmd = cmd
	lib, err := a.library()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names, err := lib.Names()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// otherSettings are the keys of the settings that are no flags of every command.
func otherSettings() []string {
	global := []string{"home", "model", "pool", "threads", "local_only"}
	var out []string
	for _, k := range config.Keys() {
		if !slices.Contains(global, k.Name) {
			out = append(out, k.Name)
		}
	}
	return out
}
