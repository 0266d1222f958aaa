package crayon

import (
	"context"
	"os"
	"slices"

	"crayon/internal/arch"
	"crayon/internal/customize"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/pool"
	"crayon/internal/poolserve"
	"crayon/internal/privacy"
	"crayon/internal/store"
	"crayon/internal/upstream"
)

// CustomizeFrom is Customize with a pool whose sides stay on the server at url
// (crayon pool serve). This machine computes the examples' features and weighs the
// pool's members by them; the weights of its blended members, in thousandths, are
// all that is sent of them, and the ledger lists them. The one adapter that comes
// back lies beside the customisation, which from then on needs no server.
func (c *Crayon) CustomizeFrom(ctx context.Context, url, name string, set *Examples, o CustomizeOptions) (*Customisation, error) {
	if err := store.CheckName(name); err != nil {
		return nil, err
	}
	scanner, err := privacy.New(c.opened.Privacy)
	if err != nil {
		return nil, err
	}
	gate := upstream.New(upstream.Options{LocalOnly: c.opened.LocalOnly, Ledger: upstream.LedgerAt(c.paths.Ledger()), Bodies: c.opened.Bodies, Privacy: scanner})
	defer gate.Close()
	from, err := upstream.NewPoolServer(gate, upstream.PoolOptions{URL: url, Key: c.opened.PoolKey})
	if err != nil {
		return nil, err
	}
	known := c.remotes()
	head, digest, err := c.fetchHead(ctx, from, known)
	if err != nil {
		return nil, err
	}
	d, err := c.device.Under(head, nil)
	if err != nil {
		return nil, err
	}
	custom, err := customize.Make(ctx, d, name, set, o)
	if err != nil {
		return nil, err
	}
	r := custom.Remote
	r.URL, r.Head = from.URL(), digest
	custom.Beside(c.shelf.Beside)
	if r.File, err = c.fetchBlend(ctx, from, custom, head, known); err != nil {
		return nil, err
	}
	return custom, c.put(ctx, custom)
}

// remotes are the customisations whose adapters a server blended, by name.
func (c *Crayon) remotes() []*Customisation {
	names, err := c.shelf.Names()
	if err != nil {
		return nil
	}
	var out []*Customisation
	for _, name := range names {
		if custom, err := c.Load(name); err == nil && custom.Remote != nil {
			out = append(out, custom)
		}
	}
	return out
}

// whole says whether a file beside the customisations is there as it was.
func (c *Crayon) whole(digest string) bool {
	got, err := gguf.Digest(c.shelf.Beside(digest))
	return err == nil && got == digest
}

// keep puts what came from a server beside the customisations.
func (c *Crayon) keep(data []byte) (digest string, err error) {
	return c.shelf.PutBeside(func(path string) error { return os.WriteFile(path, data, 0o600) })
}

// fetchHead is the head of the server's pool, of a customisation that has it
// already if it is still the same.
func (c *Crayon) fetchHead(ctx context.Context, from *upstream.PoolServer, known []*Customisation) (*pool.Pool, string, error) {
	var owner *Customisation
	have := ""
	for _, k := range known {
		if k.Remote.URL == from.URL() && (owner == nil || k.Created.After(owner.Created)) && c.whole(k.Remote.Head) {
			owner, have = k, k.Remote.Head
		}
	}
	data, digest, err := from.Head(ctx, have, pool.MaxHead)
	if err != nil {
		return nil, "", err
	}
	if data == nil {
		head, err := owner.PoolOf(nil)
		return head, digest, err
	}
	head, err := pool.ParseHead(data)
	if err != nil {
		return nil, "", err
	}
	digest, err = c.keep(data)
	return head, digest, err
}

// fetchBlend is the sha256 of the blend of a customisation's weights, which is
// asked for only if no other customisation has it.
func (c *Crayon) fetchBlend(ctx context.Context, from *upstream.PoolServer, custom *Customisation, head *pool.Pool, known []*Customisation) (string, error) {
	r := custom.Remote
	for _, k := range known {
		if k.Pool == custom.Pool && slices.Equal(k.Remote.Members, r.Members) && c.whole(k.Remote.File) {
			return k.Remote.File, nil
		}
	}
	var weights []float32
	for _, i := range head.Blended() {
		weights = append(weights, r.Members[i])
	}
	data, _, err := from.Blend(ctx, custom.Pool, weights, blendLimit(head, r.Members))
	if err != nil {
		return "", err
	}
	file, err := c.keep(data)
	if err != nil {
		return "", err
	}
	r.File = file
	blend, err := custom.Blended(head)
	if err == nil {
		_, err = c.device.Under(head, blend)
	}
	if err != nil {
		return "", &fault.Error{Op: "use blended adapter", Path: from.URL(), Err: err, Hint: "the server gave another adapter than was asked for: tell who runs it", Exit: fault.ExitVerify}
	}
	return file, nil
}

// blendLimit is the most bytes that a blend can have: full precision, and a
// header.
func blendLimit(head *pool.Pool, members []float32) int64 {
	rank, n := 0, 0
	for i, m := range head.Members {
		if members[i] != 0 {
			rank += m.Rank
		}
	}
	for slot := range arch.Slot(head.Base.Shape.Slots()) {
		out, in := head.Base.Shape.Shape(slot.Kind())
		n += out + in
	}
	return int64(rank)*int64(n)*4 + 1<<20
}

// DefaultPoolAddr is where ServePool listens by default.
const DefaultPoolAddr = "127.0.0.1:8323"

// ServePool answers devices that hold a pool's head alone, until ctx ends. Of the
// options it takes all but Addr's default, which is DefaultPoolAddr.
func ServePool(ctx context.Context, p *Pool, o ServeOptions) error {
	s, err := poolserve.New(poolserve.Options{Pool: p, Key: o.Key, Keys: o.Keys, AllowedHosts: o.Hosts, AllowedOrigins: o.Origins, Log: o.Log})
	if err != nil {
		return err
	}
	addr := o.Addr
	if addr == "" {
		addr = DefaultPoolAddr
	}
	return s.ListenAndServe(ctx, addr, o.Ready)
}
