package main

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"crayon"
	"crayon/internal/hybrid"
	"crayon/internal/route"
	"crayon/internal/upstream"
	"crayon/internal/upstream/fake"
)

// quiet is a policy under which nothing leaves by itself.
var quiet = hybrid.Policy{Mode: route.Auto, ScopeUser: -1, ScopePool: -1, Confidence: -1}

// dials counts the connections of a customisation and a conversation that may
// not leave, and of questions that go to a server.
func (s *subject) dials(ctx context.Context, files tinyFiles) error {
	local, err := s.session(ctx, files, true, crayon.OnDevice, crayon.OnDevice)
	if err != nil {
		return err
	}
	routed, err := s.session(ctx, files, false, crayon.OnServer)
	if err != nil {
		return err
	}
	twice, err := s.session(ctx, files, false, crayon.OnServer, crayon.OnServer)
	if err != nil {
		return err
	}
	s.add("local.dials", "connections of a customisation and two questions under local-only", local.dials, exact)
	s.add("local.calls", "calls in the ledger of the same", local.calls, exact)
	s.add("routed.dials", "connections of a question that goes to the server", routed.dials, exact)
	s.add("routed.calls", "calls in the ledger of the same", routed.calls, exact)
	s.add("routed.second.dials", "further connections of the next one", twice.dials-routed.dials, exact)
	return nil
}

// left is what left the machine.
type left struct{ dials, calls int64 }

// session customises and asks a question for each side, with a server set, and
// counts what leaves.
func (s *subject) session(ctx context.Context, files tinyFiles, localOnly bool, sides ...crayon.Side) (left, error) {
	far := fake.New()
	defer far.Close()
	var out left
	var dials atomic.Int64
	// The dialer tells of every connection and look-up under this context.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:     func(httptrace.DNSStartInfo) { dials.Add(1) },
		ConnectStart: func(string, string) { dials.Add(1) },
	})
	c, err := crayon.Open(ctx, crayon.Options{
		Home: files.home, Model: files.model, Pool: files.pool, Threads: 1, LocalOnly: localOnly, Policy: &quiet,
		Servers: []crayon.Server{{URL: far.URL, Model: fake.Model}},
	})
	if err != nil {
		return out, err
	}
	defer c.Close()
	before, err := entries(c)
	if err != nil {
		return out, err
	}
	custom, err := c.Customize(ctx, "mine", exampleSet(0), crayon.CustomizeOptions{})
	if err != nil {
		return out, err
	}
	session := c.Session(custom)
	for _, side := range sides {
		if _, err := session.Ask(ctx, crayon.Question{Text: s.question(), Side: side, MaxTokens: 4}, crayon.Silent); err != nil {
			return out, err
		}
	}
	after, err := entries(c)
	out.dials, out.calls = dials.Load(), after-before
	return out, err
}

// entries is how many calls the ledger lists.
func entries(c *crayon.Crayon) (int64, error) {
	all, _, err := upstream.ReadLedger(c.Paths().Ledger(), time.Time{})
	return int64(len(all)), err
}
