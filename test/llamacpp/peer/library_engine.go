package peer

import (
	"context"

	"crayon"
	"crayon/internal/kernel"
)

// libraryEngine is Crayon's public API with model and pool open.
type libraryEngine struct{ c *crayon.Crayon }

func openLibrary(s Setup) (engine, error) {
	c, err := crayon.Open(context.Background(), crayon.Options{Home: s.Home, Model: s.Model, Pool: s.Pool, Threads: s.Threads, LocalOnly: true})
	if err != nil {
		return nil, err
	}
	return &libraryEngine{c}, nil
}

func (e *libraryEngine) name() string { return "crayon (" + kernel.Current().String() + ")" }
func (e *libraryEngine) size() Size   { return Size{} }
func (e *libraryEngine) close()       { e.c.Close() }

// customize reads the examples, blends, binds and stores, as a request would.
func (e *libraryEngine) customize(path string) error {
	set, err := crayon.ReadExamples(path)
	if err != nil {
		return err
	}
	_, err = e.c.Customize(context.Background(), customName, set, crayon.CustomizeOptions{})
	return err
}
