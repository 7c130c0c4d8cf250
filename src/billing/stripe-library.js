/** Stripe's library. Its own declarations would load those of Node, which replace workerd's timers. */
export { Stripe } from 'stripe'
