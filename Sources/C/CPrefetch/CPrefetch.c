// A C target needs a source file; all there is stands in the header.
#include "CPrefetch.h"
