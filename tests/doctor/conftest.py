from clip2scene.distill.lift import PairingOptions

PAIRING = PairingOptions()
