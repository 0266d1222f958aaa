package customize

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"crayon/internal/adapter"
	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/pool"
	"crayon/internal/store"
	"crayon/internal/strategy"
)

// Remote says where the adapter of a customisation is from that was blended by
// the server of its pool. What answers lies beside the customisation: the server
// is not asked again.
type Remote struct {
	URL     string    `json:"url"`     // of the server
	Head    string    `json:"head"`    // sha256 of the pool's head
	File    string    `json:"file"`    // sha256 of the blended adapter, GGUF
	Members []float32 `json:"members"` // weights that are in it, one a member: what was sent
}

// Steps is in how many steps weights that leave are told, from 0 to 1.
const Steps = 1000

// remoteStrategies are those that ask for no other weights than the blend's and
// the shared adapters' alone, which is in it.
var remoteStrategies = []string{"base", "shared", "shared_pmi", "blend", "blend_pmi", "shots5", "shots16", "shared_shots", "blend_shots", "shots_mix", "mix", "stack", "stack_shots", strategy.Chosen, strategy.ChosenUnlabelled}

// decide fixes the weights that the server is to be told: the largest of full,
// as many as keep says and a device can hold, in steps. keep becomes how many.
func (r *Remote) decide(p *pool.Pool, full []float32, keep *int) error {
	if r == nil {
		return nil
	}
	most := len(full)
	if *keep > 0 {
		most = min(most, *keep)
	}
	for k := most; k > 0; k-- {
		kept := pool.KeepTop(full, k)
		for i, w := range kept {
			kept[i] = float32(math.Round(float64(w)*Steps) / Steps)
		}
		members := p.All(kept, 1)
		rank := 0
		for i, m := range p.Members {
			if members[i] != 0 {
				rank += m.Rank
			}
		}
		if rank > device.MostRank {
			continue
		}
		r.Members = members
		if k < len(full) {
			*keep = k
		}
		return nil
	}
	return &fault.Error{Op: "customize", Path: p.Name, Exit: fault.ExitUsage,
		Err: fmt.Errorf("its shared adapters and one blended one have more than rank %d together, which is the most that can be put beside a model", device.MostRank), Hint: "use a pool file: crayon --pool FILE customize NAME -f EXAMPLES"}
}

// restrict holds a task to the one blend that there is.
func (r *Remote) restrict(t *strategy.Task) {
	if r != nil {
		t.Blend, t.Only = r.Members, remoteStrategies
	}
}

func (r *Remote) allows(name string) error {
	if r == nil || slices.Contains(remoteStrategies, name) {
		return nil
	}
	return &fault.Error{Op: "customize", Exit: fault.ExitUsage, Err: fmt.Errorf("%s needs more of the pool than the one blend that a server gives", name),
		Hint: "strategies: " + strings.Join(remoteStrategies, ", ")}
}

func (r *Remote) check() error {
	if r == nil {
		return nil
	}
	for _, digest := range []string{r.Head, r.File} {
		if raw, err := hex.DecodeString(digest); err != nil || len(raw) != 32 {
			return errors.New("where its adapter is from is damaged: no sha256")
		}
	}
	if len(r.Members) > most || slices.ContainsFunc(r.Members, func(w float32) bool { return !usable(w) }) {
		return errors.New("where its adapter is from is damaged: weights out of range")
	}
	return nil
}

// PoolOf is the pool the customisation is of: p, or the head of the one whose
// server blended its adapter, as it lies here.
func (c *Customisation) PoolOf(p *pool.Pool) (*pool.Pool, error) {
	if c.Remote == nil {
		return p, nil
	}
	path, err := c.lies(c.Remote.Head, "the head of its pool")
	if err != nil {
		return nil, err
	}
	data, err := store.ReadFile(path, pool.MaxHead)
	if err != nil {
		return nil, err
	}
	head, err := pool.ParseHead(data)
	if err == nil && head.HeadDigest() != c.Remote.Head {
		err = c.notHere(fmt.Errorf("%s is damaged: its sha256 is %.12s", path, head.HeadDigest()))
	}
	return head, err
}

// Blended is the adapter that the server gave, with its pool's head.
func (c *Customisation) Blended(head *pool.Pool) (*device.Blend, error) {
	path, err := c.lies(c.Remote.File, "its adapter")
	if err != nil {
		return nil, err
	}
	digest, err := gguf.Digest(path)
	if err == nil && digest != c.Remote.File {
		err = c.notHere(fmt.Errorf("%s is damaged: its sha256 is %.12s", path, digest))
	}
	if err != nil {
		return nil, err
	}
	a, err := adapter.ReadGGUF(path, head.Base.Shape)
	if err != nil {
		return nil, c.notHere(err)
	}
	return &device.Blend{Members: c.Remote.Members, Adapter: a}, nil
}

// Stack are the adapters that answer and one weight each: of p, or of the blend
// that a server gave.
func (c *Customisation) Stack(p *pool.Pool) (*adapter.Stack, []float32, error) {
	members, err := c.Members(p)
	if err != nil || c.Remote == nil {
		return p.Stack, members, err
	}
	b, err := c.Blended(p)
	if err != nil {
		return nil, nil, err
	}
	s, err := b.Stack(p)
	if err != nil {
		return nil, nil, err
	}
	share, err := b.Share(p, members)
	return s, share, err
}

// On is the device as the customisation runs on it: d itself, or d under the
// pool whose server blended its adapter. Safe for concurrent use.
func (c *Customisation) On(d *device.Device) (*device.Device, error) {
	if c.Remote == nil || d.Elsewhere() {
		return d, nil
	}
	b := c.bound
	if b == nil {
		b = new(binding)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on == d {
		return b.view, nil
	}
	head, err := c.PoolOf(nil)
	if err != nil {
		return nil, err
	}
	blend, err := c.Blended(head)
	if err != nil {
		return nil, err
	}
	view, err := d.Under(head, blend)
	if err != nil {
		return nil, err
	}
	b.on, b.view = d, view
	return view, nil
}

// lies is where a file beside the customisation lies.
func (c *Customisation) lies(digest, what string) (string, error) {
	if c.private == nil {
		return "", c.notHere(errors.New("it is not known where it lies"))
	}
	path := c.private(digest)
	if _, err := os.Stat(path); err != nil {
		return "", c.notHere(fmt.Errorf("the file of %s is gone: %s", what, path))
	}
	return path, nil
}

func (c *Customisation) notHere(err error) error {
	return &fault.Error{Op: "load blended adapter", Path: c.Name, Err: err, Exit: fault.ExitVerify, Hint: "crayon customize " + c.Name + " -f EXAMPLES --pool-url " + c.Remote.URL}
}
