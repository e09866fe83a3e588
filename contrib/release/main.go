// Command release builds a release of imctl: archives for all systems, packages, a container image, checksums and
// software bills of materials. The same commit and the same Go version make the same bytes.
//
//	go run . -root ../.. -out ../../dist    # what make release runs
//	go run . -root ../.. notices            # writes THIRD_PARTY_NOTICES
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("release: ")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("release", flag.ExitOnError)
	root := flags.String("root", "../..", "root `directory` of the source")
	out := flags.String("out", "dist", "`directory` of the release, which must not exist")
	maintainer := flags.String("maintainer", "The imctl authors <imctl@localhost>", "name and address in the packages")
	dirty := flags.Bool("dirty", false, "allow uncommitted changes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() == 1 && flags.Arg(0) == "notices":
		text, err := thirdPartyNotices(ctx, *root)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(*root, noticesFile), text, 0o644)
	case flags.NArg() > 0:
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	source, err := readSource(ctx, *root, *dirty)
	if err != nil {
		return err
	}
	r := &release{source: source, out: *out, targets: allTargets, maintainer: *maintainer}
	if err := r.build(ctx); err != nil {
		return err
	}
	log.Printf("imctl %s is in %s", source.version, *out)
	return nil
}
