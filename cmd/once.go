package cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// once is the value of a flag with one value. pflag silently uses the last of several.
type once struct {
	pflag.Value
	values []string // different ones, in order
}

// Set implements pflag.Value.
func (o *once) Set(value string) error {
	if len(o.values) == 0 || o.values[len(o.values)-1] != value {
		o.values = append(o.values, value)
	}
	return o.Value.Set(value)
}

// refuseRepeats makes every command below root fail if a flag with one value is set to different values. The error does
// not repeat the values, which may be secrets.
func refuseRepeats(root *cobra.Command) {
	for _, c := range root.Commands() {
		flags := make(map[string]*once)
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if _, many := f.Value.(pflag.SliceValue); many || strings.HasSuffix(f.Value.Type(), "Array") {
				return
			}
			flags[f.Name] = &once{Value: f.Value}
			f.Value = flags[f.Name]
		})
		if run := c.RunE; run != nil {
			c.RunE = func(c *cobra.Command, args []string) error {
				var repeated error
				c.Flags().Visit(func(f *pflag.Flag) {
					if o := flags[f.Name]; o != nil && len(o.values) > 1 && repeated == nil {
						repeated = fmt.Errorf("--%s is set to %d different values: set it once", f.Name, len(o.values))
					}
				})
				if repeated != nil {
					return repeated
				}
				return run(c, args)
			}
		}
		refuseRepeats(c)
	}
}
