/** Stands in for the rendered documentation, which is built. */
export const site = { version: 'none', pages: {}, assets: {} }
