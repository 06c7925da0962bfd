package schemas

import "sync"

var builtinRegions = sync.OnceValue(func() *Regions { return buildRegions(builtinFacts()) })
